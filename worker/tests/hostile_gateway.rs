//! A hostile gateway against the real connector: illegal requests are rejected and reported to the supervisor, and
//! other gateways are not affected.

#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

mod roles;

use std::net::TcpListener;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use common::addr::TargetAddr;
use common::config::{Limits, Proxy, Sandbox, Secret, Timeouts};
use common::ipc::admission::{
    AdmissionRequest, ClientFacts, ConnectorToGateway, GatewayToConnector, Header, Refusal,
};
use common::ipc::channel::{Channel, ChannelError};
use common::ipc::connector::{ConnectorToSupervisor, Dialled, SupervisorToConnector};
use common::ipc::setup::{self, AuthTerms, ConnectorSetup, Destination};
use common::ipc::sources::SourceVerdict;
use common::ipc::{ClientAddr, ConnectionId, GatewayId, Violation};
use common::json;
use common::ticket::{Key, Mint, SpentBefore, Ticket};
use roles::{EVIL, GOOD, PATIENCE, Role, no_messages, send_raw};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use tokio::time::{sleep, timeout};

/// A connector in front of a target that accepts and closes each connection.
struct Connector {
    role: Role,
    mint: Mint,
}

impl Connector {
    async fn start() -> Self {
        Self::start_with(Vec::new()).await
    }

    async fn start_with(auth: Vec<AuthTerms>) -> Self {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let (host, port) = ("127.0.0.1".into(), target.local_addr().unwrap().port());
        std::thread::spawn(move || target.incoming().for_each(drop));
        Self::start_to(TargetAddr::Tcp { host, port }, Duration::from_secs(2), auth).await
    }

    /// Starts a connector that asks about the clients of proxies.
    async fn start_with_limits(auth: Vec<AuthTerms>) -> Self {
        let target = TargetAddr::Unix("/nonexistent".into());
        Self::start_as(target, Duration::from_secs(2), auth, true).await
    }

    /// Starts a connector in front of another target, with `connect` as the time limit.
    async fn start_to(target: TargetAddr, connect: Duration, auth: Vec<AuthTerms>) -> Self {
        Self::start_as(target, connect, auth, false).await
    }

    async fn start_as(
        target: TargetAddr,
        connect: Duration,
        auth: Vec<AuthTerms>,
        limits_sources: bool,
    ) -> Self {
        let mint = Mint::new(Key::generate().unwrap(), Duration::from_secs(60));
        let role = Role::start("connector");
        let setup = ConnectorSetup {
            run_as: None,
            sandbox: Sandbox::BestEffort,
            startup: None,
            per_target: Default::default(),
            limits_sources,
            record: false,
            destination: Destination::Target(target),
            reach: Default::default(),
            target_tls: false,
            proxy_protocol: Default::default(),
            prefer_ipv6: false,
            timeouts: Timeouts { connect, ..Timeouts::default() },
            ticket_key: mint.key().clone(),
            ticket_lifetime: mint.lifetime(),
            token_key: Key::generate().unwrap(),
            recheck: None,
            wait: None,
            auth,
            auth_for_pages: true,
            site: Default::default(),
            trusted: json::object::<Proxy>(br#"{"trusted": "10.0.0.0/8"}"#).unwrap().trusted,
            limits: Limits { keep_alive_requests: NonZeroU32::new(3).unwrap(), ..Limits::default() },
        };
        let file = setup::file(&setup).unwrap();
        role.control.send(&SupervisorToConnector::Setup(file)).await.unwrap();
        let ready: ConnectorToSupervisor = role.hear().await;
        assert!(!matches!(ready, ConnectorToSupervisor::Failed(_)), "{ready:?}");
        Self { role, mint }
    }

    /// Introduces a gateway. Returns the gateway's end of its channel.
    async fn introduce(&self, id: GatewayId) -> OwnedFd {
        let (gateway, channel) = Channel::pair().unwrap();
        self.role.control.send(&SupervisorToConnector::Gateway { id, channel }).await.unwrap();
        gateway
    }

    fn ticket(&self, connection: u64, gateway: GatewayId) -> Ticket {
        let client = ClientAddr::Ip(([192, 0, 2, 7], 40000).into());
        self.mint.ticket(ConnectionId(connection), gateway, client, None)
    }

    /// Reports to the connector that these connections have ended.
    async fn forget(&self, ids: &[u64]) {
        let ids = ids.iter().copied().map(ConnectionId).collect();
        self.role.control.send(&SupervisorToConnector::Forget(ids)).await.unwrap();
    }

    /// Like [`Self::forget`]. Returns the connections that the connector has settled.
    async fn settled(&self, ids: &[u64]) -> Vec<u64> {
        self.forget(ids).await;
        match self.role.hear().await {
            ConnectorToSupervisor::Settled(ids) => ids.into_iter().map(|id| id.0).collect(),
            other => panic!("it says {other:?}"),
        }
    }

    /// Receives the connector's next report of a violation. Only results of dials and clients' offences may precede it.
    async fn violation(&self) -> Violation {
        loop {
            match self.role.hear().await {
                ConnectorToSupervisor::Violation(violation) => return violation,
                ConnectorToSupervisor::Dialled(_) | ConnectorToSupervisor::Offenders(_) => {}
                other => panic!("it says {other:?}"),
            }
        }
    }
}

async fn ask(gateway: &Channel, ticket: Ticket) -> Result<ConnectorToGateway, ChannelError> {
    gateway.send(&admission(ticket)).await?;
    timeout(PATIENCE, gateway.receive()).await.expect("no answer")
}

fn admission(ticket: Ticket) -> GatewayToConnector {
    GatewayToConnector::Admit(AdmissionRequest { ticket, facts: ClientFacts::default() })
}

/// Requests a page with a password.
async fn browse(
    gateway: &Channel,
    ticket: Ticket,
    password: &str,
) -> Result<ConnectorToGateway, ChannelError> {
    gateway.send(&GatewayToConnector::Browse(with_password(ticket, password))).await?;
    timeout(PATIENCE, gateway.receive()).await.expect("no answer")
}

fn with_password(ticket: Ticket, password: &str) -> AdmissionRequest {
    let credentials = Base64::encode_string(format!("user:{password}").as_bytes());
    let value = Secret::new(format!("Basic {credentials}"));
    let headers = vec![Header { name: "authorization".into(), value }];
    AdmissionRequest { ticket, facts: ClientFacts { headers, ..ClientFacts::default() } }
}

fn password() -> Vec<AuthTerms> {
    vec![AuthTerms::Basic(Secret::new("user:pass".into()))]
}

async fn is_closed(gateway: &Channel) -> bool {
    let received = timeout(PATIENCE, gateway.receive::<ConnectorToGateway>()).await;
    matches!(received.expect("not closed"), Err(ChannelError::Closed))
}

#[tokio::test(flavor = "current_thread")]
async fn a_gateway_can_not_name_a_client_unless_its_peer_is_a_trusted_proxy() {
    let connector = Connector::start().await;
    let evil = Channel::new(connector.introduce(EVIL).await).unwrap();
    let vouched = Some(([198, 51, 100, 7], 0).into());
    let facts = ClientFacts { vouched, ..ClientFacts::default() };
    let ask_for = |ticket| GatewayToConnector::Admit(AdmissionRequest { ticket, facts: facts.clone() });
    let proxy = ClientAddr::Ip(([10, 0, 0, 1], 40000).into());
    evil.send(&ask_for(connector.mint.ticket(ConnectionId(1), EVIL, proxy, None))).await.unwrap();
    assert!(matches!(evil.receive().await, Ok(ConnectorToGateway::Connected { .. })));
    let ConnectorToSupervisor::Dialled(dialled) = connector.role.hear().await else { panic!("not dialled") };
    assert_eq!(dialled[0].vouched, vouched);
    evil.send(&ask_for(connector.ticket(2, EVIL))).await.unwrap();
    assert_eq!(connector.violation().await.what, "it names a client for which no trusted proxy vouches");
}

#[tokio::test(flavor = "current_thread")]
async fn no_password_of_a_proxys_client_is_checked_before_its_source() {
    let connector = Connector::start_with_limits(password()).await;
    let gateway = Channel::new(connector.introduce(GOOD).await).unwrap();
    let vouched = ([198, 51, 100, 7], 0).into();
    let turned_away = SourceVerdict::TurnedAway { retry_after: 7 };
    let cases = [
        (true, turned_away),
        (true, SourceVerdict::Served),
        (false, turned_away),
        (false, SourceVerdict::Served),
    ];
    for (number, (page, verdict)) in (1..).zip(cases) {
        let id = ConnectionId(number);
        let proxy = ClientAddr::Ip(([10, 0, 0, 1], 40000).into());
        let mut request = with_password(connector.mint.ticket(id, GOOD, proxy, None), "wrong");
        request.facts.vouched = Some(vouched);
        let question =
            if page { GatewayToConnector::Browse(request) } else { GatewayToConnector::Admit(request) };
        gateway.send(&question).await.unwrap();
        let asked = connector.role.hear::<ConnectorToSupervisor>().await;
        assert_eq!(asked, ConnectorToSupervisor::CheckSource { id, client: vouched, page });
        connector.role.control.send(&SupervisorToConnector::SourceChecked { id, verdict }).await.unwrap();
        let answer = timeout(PATIENCE, gateway.receive()).await.expect("no answer");
        let Ok(ConnectorToGateway::Refused { refusal, .. }) = answer else { panic!("{answer:?}") };
        match verdict {
            SourceVerdict::Served => {
                assert_eq!(refusal, Refusal::Unauthorized);
                let told = connector.role.hear::<ConnectorToSupervisor>().await;
                assert!(matches!(told, ConnectorToSupervisor::Offenders(_)), "{told:?}");
            }
            _ => assert_eq!(refusal, Refusal::TurnedAway { retry_after: 7 }),
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_ticket_gives_one_target() {
    let connector = Connector::start().await;
    let evil = Channel::new(connector.introduce(EVIL).await).unwrap();
    let good = Channel::new(connector.introduce(GOOD).await).unwrap();
    let ticket = connector.ticket(1, EVIL);
    assert!(matches!(ask(&evil, ticket.clone()).await, Ok(ConnectorToGateway::Connected { .. })));
    let ConnectorToSupervisor::Dialled(dialled) = connector.role.hear().await else { panic!("not dialled") };
    assert!(matches!(&dialled[..], [Dialled { id: ConnectionId(1), .. }]), "{dialled:?}");
    assert!(ask(&evil, ticket).await.is_err());
    let violation = connector.violation().await;
    assert_eq!(violation.gateway, EVIL);
    assert_eq!(violation.what, "a ticket that it has used before");
    assert!(matches!(
        ask(&good, connector.ticket(2, GOOD)).await,
        Ok(ConnectorToGateway::Connected { id: ConnectionId(2), .. })
    ));
}

#[tokio::test(flavor = "current_thread")]
async fn a_ticket_gives_one_guess_at_a_password() {
    let connector = Connector::start_with(password()).await;
    let evil = Channel::new(connector.introduce(EVIL).await).unwrap();
    assert!(matches!(
        browse(&evil, connector.ticket(1, EVIL), "wrong").await,
        Ok(ConnectorToGateway::Refused { refusal: Refusal::Unauthorized, .. })
    ));
    assert!(browse(&evil, connector.ticket(1, EVIL), "pass").await.is_err());
    assert_eq!(connector.violation().await.what, "a ticket that it has used before");
    // Nor if the gateway does not wait for the first answer.
    let evil = Channel::new(connector.introduce(EVIL).await).unwrap();
    for guess in ["wrong", "pass"] {
        let request = with_password(connector.ticket(2, EVIL), guess);
        evil.send(&GatewayToConnector::Admit(request)).await.unwrap();
    }
    assert_eq!(connector.violation().await.what, "a ticket that it has used before");
}

#[tokio::test(flavor = "current_thread")]
async fn a_ticket_gives_as_many_pages_as_a_connection_has_requests_and_one_target() {
    let connector = Connector::start_with(password()).await;
    let evil = Channel::new(connector.introduce(EVIL).await).unwrap();
    for _ in 0..2 {
        let page = browse(&evil, connector.ticket(1, EVIL), "pass").await;
        assert!(matches!(page, Ok(ConnectorToGateway::Granted(ConnectionId(1)))), "{page:?}");
    }
    let request = with_password(connector.ticket(1, EVIL), "pass");
    evil.send(&GatewayToConnector::Admit(request)).await.unwrap();
    let admitted = timeout(PATIENCE, evil.receive()).await.expect("no answer");
    assert!(matches!(admitted, Ok(ConnectorToGateway::Connected { .. })), "{admitted:?}");
    assert!(browse(&evil, connector.ticket(1, EVIL), "pass").await.is_err());
    assert_eq!(connector.violation().await.what, "a ticket that it has used before");
    let evil = Channel::new(connector.introduce(EVIL).await).unwrap();
    for _ in 0..3 {
        assert!(browse(&evil, connector.ticket(2, EVIL), "pass").await.is_ok());
    }
    assert!(browse(&evil, connector.ticket(2, EVIL), "pass").await.is_err());
    assert_eq!(connector.violation().await.what, "a ticket that it has used before");
}

#[tokio::test(flavor = "current_thread")]
async fn forged_and_foreign_tickets_end_their_gateway_and_affect_no_other() {
    let connector = Connector::start().await;
    let good = Channel::new(connector.introduce(GOOD).await).unwrap();
    let mut other_client = connector.ticket(1, EVIL);
    other_client.claims.client = ClientAddr::Ip(([127, 0, 0, 1], 40000).into());
    let mut other_connection = connector.ticket(1, EVIL);
    other_connection.claims.connection = ConnectionId(2);
    let mut longer = connector.ticket(1, EVIL);
    longer.claims.expires += 1000;
    let own = Mint::new(Key::generate().unwrap(), Duration::from_secs(60));
    let own = own.ticket(ConnectionId(1), EVIL, ClientAddr::Unix("x".into()), None);
    for (ticket, what) in [
        (other_client, "a forged ticket"),
        (other_connection, "a forged ticket"),
        (longer, "a forged ticket"),
        (own, "a forged ticket"),
        (connector.ticket(9, GOOD), "a ticket of another gateway"),
    ] {
        let evil = Channel::new(connector.introduce(EVIL).await).unwrap();
        assert!(ask(&evil, ticket).await.is_err(), "{what}");
        assert_eq!(connector.violation().await, Violation { gateway: EVIL, what: what.into() });
    }
    // A ticket that another gateway has tried to use stays valid for its owner.
    assert!(matches!(ask(&good, connector.ticket(9, GOOD)).await, Ok(ConnectorToGateway::Connected { .. })));
}

#[tokio::test(flavor = "current_thread")]
async fn an_expired_ticket_is_refused_and_no_more() {
    let connector = Connector::start().await;
    let gateway = Channel::new(connector.introduce(GOOD).await).unwrap();
    let short = Mint::new(connector.mint.key().clone(), Duration::ZERO);
    let stale = short.ticket(ConnectionId(1), GOOD, ClientAddr::Unix("x".into()), None);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert!(matches!(
        ask(&gateway, stale).await,
        Ok(ConnectorToGateway::Refused { refusal: Refusal::Stale, .. })
    ));
    assert!(matches!(
        ask(&gateway, connector.ticket(2, GOOD)).await,
        Ok(ConnectorToGateway::Connected { .. })
    ));
}

/// An expired ticket may be presented repeatedly, since the gateway may not be at fault.
#[tokio::test(flavor = "current_thread")]
async fn a_flood_of_expired_tickets_delays_no_other_and_must_be_read() {
    let connector = Connector::start().await;
    let evil = Channel::new(connector.introduce(EVIL).await).unwrap();
    let good = Channel::new(connector.introduce(GOOD).await).unwrap();
    let short = Mint::new(connector.mint.key().clone(), Duration::ZERO);
    let ticket = short.ticket(ConnectionId(1), EVIL, ClientAddr::Unix("x".into()), None);
    let stale = GatewayToConnector::Admit(AdmissionRequest { ticket, facts: ClientFacts::default() });
    tokio::time::sleep(Duration::from_millis(2100)).await;
    for round in 0..20_000 {
        if !evil.try_send(&stale).unwrap() {
            tokio::task::yield_now().await;
        }
        // The answers are read for a while.
        if round < 10_000 {
            let _ = evil.try_receive::<ConnectorToGateway>().unwrap();
        }
    }
    let answer = timeout(Duration::from_secs(1), ask(&good, connector.ticket(2, GOOD))).await;
    assert!(matches!(answer, Ok(Ok(ConnectorToGateway::Connected { .. }))), "{answer:?}");
    // The gateway has 5 s to read.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let violation = connector.violation().await;
    assert_eq!((violation.gateway, violation.what.as_str()), (EVIL, "it does not read its answers"));
}

/// A connection that has ended according to the supervisor gets no target, whether or not its ticket was
/// spent. This is not a violation, since the request may have been on its way.
#[tokio::test(flavor = "current_thread")]
async fn a_connection_that_has_ended_gets_no_target() {
    let connector = Connector::start_with(password()).await;
    let evil = Channel::new(connector.introduce(EVIL).await).unwrap();
    assert!(browse(&evil, connector.ticket(1, EVIL), "pass").await.is_ok());
    assert_eq!(connector.settled(&[1, 2]).await, [1, 2]);
    for connection in [1, 2] {
        evil.send(&GatewayToConnector::Admit(with_password(connector.ticket(connection, EVIL), "pass")))
            .await
            .unwrap();
        let answer = timeout(PATIENCE, evil.receive()).await.expect("no answer");
        let refused = matches!(answer, Ok(ConnectorToGateway::Refused { refusal: Refusal::Stale, .. }));
        assert!(refused, "connection {connection}: {answer:?}");
    }
    assert!(browse(&evil, connector.ticket(3, EVIL), "pass").await.is_ok(), "it was not killed for it");
    assert_eq!(connector.settled(&[2]).await, [2], "as often as it is asked");
}

#[tokio::test(flavor = "current_thread")]
async fn a_target_is_reported_before_its_connection_is_settled() {
    let connector = Connector::start().await;
    let evil = Channel::new(connector.introduce(EVIL).await).unwrap();
    assert!(matches!(ask(&evil, connector.ticket(1, EVIL)).await, Ok(ConnectorToGateway::Connected { .. })));
    connector.forget(&[1]).await;
    let told: ConnectorToSupervisor = connector.role.hear().await;
    assert!(matches!(told, ConnectorToSupervisor::Dialled(_)), "{told:?}");
    let told: ConnectorToSupervisor = connector.role.hear().await;
    assert_eq!(told, ConnectorToSupervisor::Settled(vec![ConnectionId(1)]));
}

/// The target's queue is full, so that it accepts no connection until the time limit.
#[tokio::test(flavor = "current_thread")]
async fn a_connection_that_ends_while_its_target_is_dialled_is_settled_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("target");
    let target = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&target, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&target, 0).unwrap();
    let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let connector = Connector::start_to(TargetAddr::Unix(path), Duration::from_secs(60), Vec::new()).await;
    let evil = Channel::new(connector.introduce(EVIL).await).unwrap();
    evil.send(&admission(connector.ticket(1, EVIL))).await.unwrap();
    // The answer to another request shows that the first one is in progress.
    let other = Channel::new(connector.introduce(GOOD).await).unwrap();
    other.send(&admission(connector.ticket(2, GOOD))).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    connector.forget(&[1, 1]).await;
    let ConnectorToSupervisor::Dialled(dialled) = connector.role.hear().await else { panic!("not dialled") };
    let failure = dialled.iter().map(|one| (one.id.0, one.failure.as_deref())).collect::<Vec<_>>();
    assert_eq!(failure, [(1, Some("the client has gone"))]);
    let told: ConnectorToSupervisor = connector.role.hear().await;
    assert_eq!(told, ConnectorToSupervisor::Settled(vec![ConnectionId(1)]), "once");
}

/// A connector has the same key as its predecessor, so that the seals of old tickets are valid.
#[tokio::test(flavor = "current_thread")]
async fn a_new_connector_rejects_tickets_spent_with_its_predecessor() {
    let connector = Connector::start().await;
    let past = setup::file(&SpentBefore { last: 2, fresh: [ConnectionId(2)].into() }).unwrap();
    connector.role.control.send(&SupervisorToConnector::SpentBefore(past)).await.unwrap();
    let evil = Channel::new(connector.introduce(EVIL).await).unwrap();
    assert!(matches!(
        ask(&evil, connector.ticket(1, EVIL)).await,
        Ok(ConnectorToGateway::Refused { refusal: Refusal::Stale, .. })
    ));
    for connection in [2, 3] {
        let answer = ask(&evil, connector.ticket(connection, EVIL)).await;
        assert!(matches!(answer, Ok(ConnectorToGateway::Connected { .. })), "connection {connection}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_invalid_message_ends_its_gateway_and_affects_no_other() {
    let connector = Connector::start().await;
    let good = Channel::new(connector.introduce(GOOD).await).unwrap();
    for (number, (what, bytes, fds)) in no_messages().into_iter().enumerate() {
        let evil = connector.introduce(EVIL).await;
        send_raw(&evil, &bytes, fds);
        assert_eq!(connector.violation().await.gateway, EVIL, "{what}");
        assert!(is_closed(&Channel::new(evil).unwrap()).await, "{what}");
        let ticket = connector.ticket(number as u64 + 1, GOOD);
        assert!(matches!(ask(&good, ticket).await, Ok(ConnectorToGateway::Connected { .. })), "{what}");
    }
    // As at the beginning: control, log, event loop, one gateway, and no descriptor of ours.
    let fds = std::fs::read_dir(format!("/proc/{}/fd", connector.role.child.id()));
    if let Ok(fds) = fds {
        assert!(fds.count() < 16, "descriptors were left open");
    }
}

/// Hundreds of valid requests at once, none of whose answers is read.
#[tokio::test(flavor = "current_thread")]
async fn a_gateway_that_does_not_read_its_answers_delays_no_other_and_is_ended() {
    let connector = Connector::start().await;
    let evil = Channel::new(connector.introduce(EVIL).await).unwrap();
    let good = Channel::new(connector.introduce(GOOD).await).unwrap();
    for connection in 1000..1900 {
        let request =
            AdmissionRequest { ticket: connector.ticket(connection, EVIL), facts: ClientFacts::default() };
        timeout(PATIENCE, evil.send(&GatewayToConnector::Admit(request))).await.expect("not taken").unwrap();
    }
    let began = std::time::Instant::now();
    for connection in 1..20 {
        let answer = ask(&good, connector.ticket(connection, GOOD)).await;
        assert!(matches!(answer, Ok(ConnectorToGateway::Connected { .. })), "{answer:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let accused = timeout(Duration::from_secs(10), connector.violation()).await.expect("not accused");
    assert_eq!(accused, Violation { gateway: EVIL, what: "it does not read its answers".into() });
}
