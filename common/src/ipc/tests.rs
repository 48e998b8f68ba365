use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::admission::{ConnectorToGateway, Header, Refusal, Reply, SessionTerms};
use super::channel::{Channel, ChannelError};
use super::connector::SupervisorToConnector;
use super::directions::{DIRECTIONS, Direction};
use super::gateway::{
    Ack, ClosedBy, Count, Ended, Frames, GatewayToSupervisor, Report, SessionSummary, SupervisorToGateway,
};
use super::log::{LogLine, LogLines, LogMessage, Severity};
use super::lookup::PluginKind;
use super::offence::Offence;
use super::table::{Message, Row, decode};
use super::wire::{self, MAX_BYTES, WireError};
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
        None,
    )
}

/// Two ends that are in the phase of serving.
fn channel_pair() -> (Channel, Channel) {
    let (a, b) = Channel::pair().unwrap();
    (Channel::adopted(a).unwrap(), Channel::adopted(b).unwrap())
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_arrives_with_its_socket() {
    let (supervisor, gateway) = channel_pair();
    let sent = ticket(ClientAddr::Ip(SocketAddr::from((Ipv6Addr::LOCALHOST, 40000))));
    let message =
        SupervisorToGateway::Connection { ticket: sent.clone(), proxy_header: false, socket: some_fd() };
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
            frames: MANY_FRAMES,
            client_said_close: true,
        }),
        offence: Some(Offence::Crash),
        vouched: Some(SocketAddr::from((Ipv6Addr::from([0xff; 16]), u16::MAX))),
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
    let count =
        Count { id: ConnectionId(u64::MAX), to_target: u64::MAX, to_client: u64::MAX, frames: MANY_FRAMES };
    let counts = GatewayToSupervisor::Counts(vec![count; Count::MAX_BATCH]);
    gateway.send(&counts).await.unwrap();
    assert_eq!(supervisor.receive::<GatewayToSupervisor>().await.unwrap(), counts);
}

/// Roles of two versions meet after an upgrade. The encoding of released messages must not change.
#[test]
fn the_encoding_of_released_messages_is_unchanged() {
    fn bytes(message: &impl Message) -> Vec<u8> {
        message.encode().unwrap().bytes().to_vec()
    }
    let id = ConnectionId(7);
    assert_eq!(bytes(&SupervisorToGateway::Recording { id, file: some_fd() }), [1, 9, 7]);
    assert_eq!(bytes(&SupervisorToGateway::GetCounts(vec![id])), [1, 12, 1, 7]);
    assert_eq!(bytes(&SupervisorToGateway::Stop), [1, 16]);
    assert_eq!(bytes(&Ack::Reading(id)), [1, 1, 7]);
    let frames = Frames { to_target: 5, to_client: 6 };
    let count = Count { id, to_target: 3, to_client: 4, frames };
    assert_eq!(bytes(&GatewayToSupervisor::Counts(vec![count])), [1, 4, 1, 7, 3, 4, 5, 6]);
    let (closed_by, close_reason) = (ClosedBy::Target, "ok".into());
    let session = SessionSummary {
        to_target: 3,
        to_client: 4,
        closed_by,
        close_code: 1000,
        close_reason,
        frames,
        client_said_close: true,
    };
    let report = Report { lost: vec![], ended: vec![Ended::new(id, Some(session))] };
    let written = [1, 3, 0, 1, 7, 1, 3, 4, 1, 0xe8, 7, 2, b'o', b'k', 5, 6, 1, 0, 0];
    assert_eq!(bytes(&GatewayToSupervisor::Report(report)), written);
    let plugin = |kind| bytes(&SupervisorToConnector::Plugin { kind, socket: some_fd() });
    assert_eq!(plugin(PluginKind::Targets), [1, 4, 0]);
    assert_eq!(plugin(PluginKind::Admission(2)), [1, 4, 1, 2]);
    let refusal = Refusal::LookupFailed;
    assert_eq!(bytes(&ConnectorToGateway::Refused { id, refusal }), [1, 3, 7, 7]);
    let lines = vec![LogLine {
        severity: Severity::Info,
        connection: None,
        vouched: None,
        text: "ok".into(),
        event: None,
    }];
    let lines = LogLines { dropped: 2, lines, marks: String::new() };
    assert_eq!(bytes(&LogMessage::Lines(lines)), [1, 1, 2, 1, 1, 0, 0, 2, b'o', b'k', 0, 0]);
}

#[test]
fn a_lost_descriptor_names_its_connection() {
    fn lost<M: Message>(message: &M) -> Result<ConnectionId, WireError> {
        let encoded = message.encode().unwrap();
        let (tag, reader) = wire::open(encoded.bytes(), None).unwrap();
        M::lost(tag, reader)
    }
    let client = ClientAddr::Unix("/run/x.sock".into());
    let connection =
        SupervisorToGateway::Connection { ticket: ticket(client), proxy_header: false, socket: some_fd() };
    assert_eq!(lost(&connection).unwrap(), ConnectionId(300));
    let id = ConnectionId(7);
    assert_eq!(lost(&SupervisorToGateway::Recording { id, file: some_fd() }).unwrap(), id);
    for lifetime in [None, Some(Duration::from_secs(1))] {
        let host = Some("localhost".into());
        let terms = SessionTerms { lifetime, ..SessionTerms::default() };
        let connected = ConnectorToGateway::Connected { id, target: some_fd(), host, terms };
        assert_eq!(lost(&connected).unwrap(), id);
    }
    assert!(matches!(lost(&SupervisorToGateway::Setup(some_fd())), Err(WireError::Descriptor)));
    assert!(matches!(lost(&SupervisorToGateway::Stop), Err(WireError::Descriptor)));
}

#[test]
fn tags_are_counted_from_1_and_used_once() {
    for Direction { name, table, .. } in DIRECTIONS {
        assert!(table.first().is_some_and(|row| row.tag == 1), "{name}");
        assert!(table.is_sorted_by(|one, next| one.tag < next.tag), "{name}");
        for Row { name: message, fields, .. } in table {
            let descriptors = fields.iter().filter(|field| field.is_descriptor).count();
            assert!(descriptors <= 1, "{name}::{message}");
        }
    }
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
async fn a_closed_end_is_reported() {
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

/// More senders than the channel has space for. Each must get its turn.
#[tokio::test(flavor = "current_thread")]
async fn many_senders_can_wait_for_space() {
    const SENDERS: usize = 2000;
    let (supervisor, gateway) = channel_pair();
    let supervisor = std::rc::Rc::new(supervisor);
    let sending = tokio::task::LocalSet::new();
    for _ in 0..SENDERS {
        let supervisor = supervisor.clone();
        sending.spawn_local(async move { supervisor.send(&SupervisorToGateway::Stop).await.unwrap() });
    }
    let received = sending.run_until(async {
        // Let all of them start.
        tokio::time::sleep(Duration::from_millis(50)).await;
        for _ in 0..SENDERS {
            gateway.receive::<SupervisorToGateway>().await.unwrap();
        }
    });
    tokio::time::timeout(Duration::from_secs(10), received).await.expect("a sender was forgotten");
}

#[test]
fn invalid_datagrams_are_rejected() {
    let decode = |bytes: &[u8], fd| super::table::decode::<SupervisorToGateway>(bytes, fd).map(|_| ());
    let stop = SupervisorToGateway::Stop.encode().unwrap().bytes().to_vec();
    assert!(decode(&stop, None).is_ok());
    assert!(matches!(decode(&stop, Some(some_fd())), Err(WireError::Descriptor)), "a fd that nobody wants");
    assert!(
        matches!(decode(&[stop.as_slice(), &[0]].concat(), None), Err(WireError::Body(16))),
        "trailing byte"
    );
    assert!(matches!(decode(&[1, 1], None), Err(WireError::Descriptor)), "a setup without its file");
    assert!(matches!(decode(&[1, 99], None), Err(WireError::Tag(99))));
    assert!(matches!(decode(&[9, 16], None), Err(WireError::Version(9))));
    assert!(matches!(decode(&[1], None), Err(WireError::Truncated)));
    assert!(matches!(decode(&[], None), Err(WireError::Truncated)));
    assert!(matches!(decode(&[1, 8, 7], Some(some_fd())), Err(WireError::Body(8))), "half an address");
}

#[test]
fn no_prefix_and_no_flipped_bit_of_a_message_panics() {
    let ticket = ticket(ClientAddr::Unix("/run/x.sock".into()));
    let message = SupervisorToGateway::Connection { ticket, proxy_header: false, socket: some_fd() };
    let bytes = message.encode().unwrap().bytes().to_vec();
    for cut in 0..bytes.len() {
        assert!(decode::<SupervisorToGateway>(&bytes[..cut], Some(some_fd())).is_err());
    }
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let _ = decode::<SupervisorToGateway>(&changed, Some(some_fd()));
        let _ = decode::<GatewayToSupervisor>(&changed, None);
    }
}
