use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::admission::{ConnectorToGateway, Header, Refusal, Reply, lost_target};
use super::ask::Duty;
use super::channel::{Channel, ChannelError};
use super::connector::SupervisorToConnector;
use super::gateway::{
    ClosedBy, Count, Ended, Frames, GatewayToSupervisor, Report, SessionSummary, SupervisorToGateway,
};
use super::wire::{self, MAX_BYTES, Message, WireError};
use super::{ClientAddr, ConnectionId, GatewayId};
use crate::config::Secret;
use crate::sys::seqpacket;
use crate::ticket::{Key, Mint, Ticket};

const MANY_FRAMES: Frames = Frames { to_target: u64::MAX, to_client: u64::MAX };

fn some_fd() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

fn ticket(client: ClientAddr) -> Ticket {
    Mint::new(Key::generate().unwrap(), Duration::from_secs(60)).ticket(
        ConnectionId(300),
        GatewayId(2),
        client,
    )
}

fn channel_pair() -> (Channel, Channel) {
    let (a, b) = Channel::pair().unwrap();
    (Channel::new(a).unwrap(), Channel::new(b).unwrap())
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_arrives_with_its_socket() {
    let (supervisor, gateway) = channel_pair();
    let sent = ticket(ClientAddr::Ip(SocketAddr::from((Ipv6Addr::LOCALHOST, 40000))));
    let message = SupervisorToGateway::Connection { ticket: sent.clone(), socket: some_fd() };
    supervisor.send(&message).await.unwrap();
    match gateway.receive().await.unwrap() {
        SupervisorToGateway::Connection { ticket: received, .. } => assert_eq!(received, sent),
        other => panic!("received {other:?}"),
    }
}

#[tokio::test(flavor = "current_thread")]
async fn the_largest_report_fits_into_a_message() {
    let (gateway, supervisor) = channel_pair();
    let ended = Ended {
        id: ConnectionId(u64::MAX),
        session: Some(SessionSummary {
            to_target: u64::MAX,
            to_client: u64::MAX,
            closed_by: ClosedBy::Shutdown,
            close_code: u16::MAX,
            close_reason: "x".repeat(SessionSummary::MAX_REASON),
            frames: Some(MANY_FRAMES),
        }),
    };
    let report = Report {
        lost: vec![ConnectionId(u64::MAX); Report::MAX_ENTRIES],
        ended: vec![ended; Report::MAX_ENTRIES],
    };
    gateway.send(&GatewayToSupervisor::Report(report.clone())).await.unwrap();
    assert_eq!(
        supervisor.receive::<GatewayToSupervisor>().await.unwrap(),
        GatewayToSupervisor::Report(report)
    );
}

#[tokio::test(flavor = "current_thread")]
async fn the_largest_counts_fit_into_a_message() {
    let (gateway, supervisor) = channel_pair();
    let count = Count {
        id: ConnectionId(u64::MAX),
        to_target: u64::MAX,
        to_client: u64::MAX,
        frames: Some(MANY_FRAMES),
    };
    let counts = GatewayToSupervisor::Counts(vec![count; Count::MAX_BATCH]);
    gateway.send(&counts).await.unwrap();
    assert_eq!(supervisor.receive::<GatewayToSupervisor>().await.unwrap(), counts);
}

/// Roles of two versions meet after an upgrade: what existed before plugins had duties and sessions a lifetime is
/// written as it was.
#[test]
fn what_is_older_is_written_as_it_was() {
    let plugin =
        |duty| SupervisorToConnector::Plugin { duty, socket: some_fd() }.encode().unwrap().bytes().to_vec();
    assert_eq!(plugin(Duty::Targets), [1, 5]);
    assert_eq!(plugin(Duty::Admission(0)), [1, 8, 0]);
    let connected = |lifetime| {
        let message =
            ConnectorToGateway::Connected { id: ConnectionId(7), target: some_fd(), host: None, lifetime };
        let bytes = message.encode().unwrap().bytes().to_vec();
        assert_eq!(lost_target(&bytes).unwrap(), ConnectionId(7));
        match wire::decode(&bytes, Some(some_fd())).unwrap() {
            ConnectorToGateway::Connected { lifetime: read, .. } => assert_eq!(read, lifetime),
            other => panic!("{other:?}"),
        }
        bytes
    };
    assert_eq!(connected(None), [1, 1, 7, 0]);
    assert_eq!(connected(Some(Duration::from_secs(1)))[..4], [1, 4, 7, 0]);
    let refused = ConnectorToGateway::Refused { id: ConnectionId(7), refusal: Refusal::LookupFailed };
    assert_eq!(refused.encode().unwrap().bytes(), [1, 2, 7, 7]);
}

#[tokio::test(flavor = "current_thread")]
async fn the_largest_answer_of_a_plugin_fits_into_a_message() {
    let (connector, gateway) = channel_pair();
    let field = Header { name: "x".repeat(Reply::MAX_BYTES), value: Secret::new(String::new()) };
    let mut headers =
        vec![Header { name: String::new(), value: Secret::new(String::new()) }; Reply::MAX_FIELDS];
    headers[0] = field;
    let reply = Reply { status: u16::MAX, reason: None, headers };
    let refusal = Refusal::Answered(reply);
    let sent = ConnectorToGateway::Refused { id: ConnectionId(u64::MAX), refusal: refusal.clone() };
    connector.send(&sent).await.unwrap();
    match gateway.receive().await.unwrap() {
        ConnectorToGateway::Refused { refusal: received, .. } => assert_eq!(received, refusal),
        other => panic!("received {other:?}"),
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_closed_end_is_told() {
    let (gateway, supervisor) = channel_pair();
    drop(gateway);
    assert!(matches!(supervisor.receive::<GatewayToSupervisor>().await, Err(ChannelError::Closed)));
    assert!(matches!(supervisor.send(&SupervisorToGateway::Stop).await, Err(ChannelError::Closed)));
}

#[tokio::test(flavor = "current_thread")]
async fn a_datagram_that_is_too_long_is_refused() {
    let (a, b) = Channel::pair().unwrap();
    let supervisor = Channel::new(b).unwrap();
    seqpacket::send(std::os::fd::AsFd::as_fd(&a), &vec![1; MAX_BYTES + 1], None).unwrap();
    let received = supervisor.receive::<GatewayToSupervisor>().await;
    assert!(matches!(received, Err(ChannelError::Violation(WireError::Truncated))), "{received:?}");
}

/// More senders than the kernel has room for: each must get its turn.
#[tokio::test(flavor = "current_thread")]
async fn many_can_wait_for_room() {
    const SENDERS: usize = 2000;
    let (supervisor, gateway) = channel_pair();
    let supervisor = std::rc::Rc::new(supervisor);
    let sending = tokio::task::LocalSet::new();
    for _ in 0..SENDERS {
        let supervisor = supervisor.clone();
        sending.spawn_local(async move { supervisor.send(&SupervisorToGateway::Stop).await.unwrap() });
    }
    let received = sending.run_until(async {
        // Let all of them begin.
        tokio::time::sleep(Duration::from_millis(50)).await;
        for _ in 0..SENDERS {
            gateway.receive::<SupervisorToGateway>().await.unwrap();
        }
    });
    tokio::time::timeout(Duration::from_secs(10), received).await.expect("a sender was forgotten");
}

#[test]
fn what_is_no_message_is_refused() {
    let decode = |bytes: &[u8], fd| wire::decode::<SupervisorToGateway>(bytes, fd).map(|_| ());
    let stop = SupervisorToGateway::Stop.encode().unwrap().bytes().to_vec();
    assert!(decode(&stop, None).is_ok());
    assert!(matches!(decode(&stop, Some(some_fd())), Err(WireError::Descriptor)), "a fd that nobody wants");
    assert!(
        matches!(decode(&[stop.as_slice(), &[0]].concat(), None), Err(WireError::Body(8))),
        "trailing byte"
    );
    assert!(matches!(decode(&[1, 1], None), Err(WireError::Descriptor)), "a setup without its file");
    assert!(matches!(decode(&[1, 99], None), Err(WireError::Tag(99))));
    assert!(matches!(decode(&[9, 8], None), Err(WireError::Version(9))));
    assert!(matches!(decode(&[1], None), Err(WireError::Truncated)));
    assert!(matches!(decode(&[], None), Err(WireError::Truncated)));
    assert!(matches!(decode(&[1, 6, 7], Some(some_fd())), Err(WireError::Body(6))), "half an address");
}

#[test]
fn no_prefix_and_no_flipped_bit_of_a_message_panics() {
    let ticket = ticket(ClientAddr::Unix("/run/x.sock".into()));
    let message = SupervisorToGateway::Connection { ticket, socket: some_fd() };
    let bytes = message.encode().unwrap().bytes().to_vec();
    for cut in 0..bytes.len() {
        assert!(wire::decode::<SupervisorToGateway>(&bytes[..cut], Some(some_fd())).is_err());
    }
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let _ = wire::decode::<SupervisorToGateway>(&changed, Some(some_fd()));
        let _ = wire::decode::<GatewayToSupervisor>(&changed, None);
    }
}
