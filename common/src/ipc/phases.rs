//! Messages out of phase are rejected in every direction before their fields are decoded.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use super::channel::{Channel, ChannelError};
use super::connector::ConnectorToSupervisor;
use super::directions::{DIRECTIONS, Direction};
use super::exporter::ExporterToSupervisor;
use super::gateway::{GatewayToSupervisor, Report, SupervisorToGateway};
use super::level::{Deadly, Level};
use super::signer::{KeyDescription, SignerToSupervisor};
use super::table::{Message, Row};
use super::wire::{Phase, VERSION, WireError};
use super::wrapper::WrapperToSupervisor;
use crate::sys::seqpacket;

const LEVEL: Level = Level {
    uid: None,
    no_privileges: true,
    seccomp: true,
    landlock: 6,
    own_processes: false,
    own_network: None,
    empty_root: None,
    sees_files: false,
    locked_key: None,
    deadly: Deadly::NONE,
};

fn pair() -> (OwnedFd, Channel) {
    let (theirs, ours) = Channel::pair().unwrap();
    (theirs, Channel::new(ours).unwrap())
}

fn send(end: &OwnedFd, message: &impl Message) {
    let encoded = message.encode().unwrap();
    seqpacket::send(end.as_fd(), encoded.bytes(), encoded.fd).unwrap();
}

/// Returns the error of the next message.
async fn refusal<M: Message>(channel: &Channel) -> String {
    match channel.receive::<M>().await {
        Err(ChannelError::Violation(error @ WireError::Phase(..))) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

async fn ready_twice<M: Message>(ready: M) -> String {
    let (theirs, ours) = pair();
    for _ in 0..2 {
        send(&theirs, &ready);
    }
    ours.receive::<M>().await.unwrap();
    refusal::<M>(&ours).await
}

#[tokio::test(flavor = "current_thread")]
async fn no_role_is_ready_twice() {
    let key = KeyDescription { public_key: vec![], schemes: vec![] };
    let expected = "message Ready is not allowed in phase serving";
    assert_eq!(ready_twice(GatewayToSupervisor::Ready(LEVEL)).await, expected);
    assert_eq!(ready_twice(ConnectorToSupervisor::Ready(LEVEL)).await, expected);
    assert_eq!(ready_twice(SignerToSupervisor::Ready(LEVEL, key)).await, expected);
    assert_eq!(ready_twice(ExporterToSupervisor::Ready(LEVEL)).await, expected);
    let expected = "message Started is not allowed in phase serving";
    assert_eq!(ready_twice(WrapperToSupervisor::Started(1)).await, expected);
}

#[tokio::test(flavor = "current_thread")]
async fn no_role_is_heard_before_it_is_ready() {
    let (theirs, ours) = pair();
    send(&theirs, &GatewayToSupervisor::Report(Report::default()));
    let expected = "message Report is not allowed in phase starting";
    assert_eq!(refusal::<GatewayToSupervisor>(&ours).await, expected);
    // Regardless of the body, and of whether the descriptor arrived.
    for tag in [SupervisorToGateway::CONNECTION, SupervisorToGateway::RECORDING] {
        let (theirs, ours) = pair();
        seqpacket::send(theirs.as_fd(), &[VERSION, tag, 0xff], None).unwrap();
        assert!(refusal::<SupervisorToGateway>(&ours).await.ends_with("is not allowed in phase setup"));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn the_supervisor_keeps_to_the_phases_too() {
    let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let (theirs, ours) = pair();
    send(&theirs, &SupervisorToGateway::Setup(file()));
    ours.receive::<SupervisorToGateway>().await.unwrap();
    send(&theirs, &SupervisorToGateway::Setup(file()));
    let expected = "message Setup is not allowed in phase starting";
    assert_eq!(refusal::<SupervisorToGateway>(&ours).await, expected);
}

/// The role was adopted by an upgrade.
#[tokio::test(flavor = "current_thread")]
async fn a_role_that_serves_already_is_not_ready_again() {
    let (theirs, ours) = Channel::pair().unwrap();
    let ours = Channel::adopted(ours).unwrap();
    send(&theirs, &ConnectorToSupervisor::Dialled(vec![]));
    ours.receive::<ConnectorToSupervisor>().await.unwrap();
    send(&theirs, &ConnectorToSupervisor::Ready(LEVEL));
    let expected = "message Ready is not allowed in phase serving";
    assert_eq!(refusal::<ConnectorToSupervisor>(&ours).await, expected);
}

#[test]
fn each_message_is_legal_in_some_phase() {
    for Direction { name, table, .. } in DIRECTIONS {
        let mut reached: BTreeSet<Phase> = table[0].phases.iter().copied().collect();
        assert_eq!(reached.len(), 1, "{name} begins in one phase");
        for _ in table {
            let legal = table.iter().filter(|row| row.phases.iter().any(|phase| reached.contains(phase)));
            let next: Vec<_> = legal.filter_map(|row| row.then).collect();
            reached.extend(next);
        }
        for Row { name: message, phases, .. } in table {
            assert!(phases.iter().any(|phase| reached.contains(phase)), "{name}::{message} is never legal");
        }
    }
}
