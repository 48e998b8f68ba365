//! Tests of connections whose gateways or connectors are replaced or lie.

use std::num::NonZeroU32;

use common::config::{Penalties, PerSource, Proxy};
use common::ipc::connector::Offender;
use common::ipc::gateway::{ClosedBy, Count, Frames};
use common::ipc::offence::Offence;
use common::ipc::sources::SourceVerdict;
use common::ipc::uses::{Reservation, UseLimits};
use common::json;

use super::*;

const GATEWAY: GatewayId = GatewayId(1);
const OTHER: GatewayId = GatewayId(2);
const TARGET: &str = "localhost:5901";

fn summary(to_target: u64, to_client: u64) -> SessionSummary {
    let (closed_by, close_reason) = (ClosedBy::Client, String::new());
    SessionSummary {
        to_target,
        to_client,
        closed_by,
        close_code: 1000,
        close_reason,
        frames: Frames::default(),
        client_said_close: true,
    }
}

/// Summary of a session.
pub(super) fn some_summary() -> SessionSummary {
    summary(1, 2)
}

/// A table whose generation 1 has a connector.
fn table() -> Connections {
    let mut connections = Connections::default();
    connections.connector_starts(1);
    connections
}

fn accepted(connections: &mut Connections) -> ConnectionId {
    let socket = std::fs::File::open("/dev/null").unwrap().into();
    connections.accept(ClientAddr::Unix("/run/x".into()), None, false, socket)
}

fn hand_over(connections: &mut Connections, id: ConnectionId) {
    let Offered { socket, .. } = connections.offer(id, 1, GATEWAY, 0, &Networks::default()).unwrap();
    nothing(&connections.delivered(id, socket));
}

fn handed_over(connections: &mut Connections) -> ConnectionId {
    let id = accepted(connections);
    hand_over(connections, id);
    id
}

fn nothing(todo: &Todo) {
    assert!(todo.offers.is_empty() && todo.violations.is_empty() && todo.hung.is_empty(), "{todo:?}");
}

/// Lets the connector settle everything that it is asked to.
fn settle(connections: &mut Connections) -> Todo {
    let ids = connections.to_forget(1, usize::MAX);
    connections.asked_to_forget(1, ids.len());
    connections.settled(&ids, 1)
}

fn is_at_rest(connections: &Connections) {
    assert!(connections.is_empty() && !connections.any_unread() && !connections.any_waiting());
    assert_eq!((connections.totals().sessions, connections.load()), (0, 0));
}

#[test]
fn a_connection_that_nobody_has_read_survives_its_gateway() {
    let mut connections = table();
    let (fresh, read) = (handed_over(&mut connections), handed_over(&mut connections));
    connections.acknowledged(read, GATEWAY);
    nothing(&connections.gateway_gone(GATEWAY));
    let offers = settle(&mut connections).offers;
    assert_eq!(offers.len(), 1);
    assert_eq!(offers[0].1, Some(GATEWAY));
    assert!(offers[0].0 > fresh, "under a new number");
    assert!(connections.any_waiting() && !connections.any_unread());
}

#[test]
fn a_connection_that_kills_gateways_is_given_up() {
    let mut connections = table();
    handed_over(&mut connections);
    for expected in [1, 0] {
        nothing(&connections.gateway_gone(GATEWAY));
        let offers = settle(&mut connections).offers;
        assert_eq!(offers.len(), expected);
        offers.iter().for_each(|(id, _)| hand_over(&mut connections, *id));
    }
    is_at_rest(&connections);
}

#[test]
fn a_gateway_can_not_affect_connections_of_another() {
    let mut connections = table();
    let id = handed_over(&mut connections);
    connections.acknowledged(id, OTHER);
    let lies = [connections.lost(id, OTHER), connections.ended(Ended::new(id, None), OTHER)];
    for lie in lies {
        assert_eq!(lie.violation_of(OTHER), Some(id));
    }
    assert_eq!(connections.record(id, None, OTHER), None);
    assert!(!connections.requested(id, Request::default(), OTHER));
    nothing(&connections.gateway_gone(OTHER));
    assert!(connections.any_unread(), "still there, still not read");
}

#[test]
fn reports_about_unknown_connections_are_violations() {
    let mut connections = table();
    let id = ConnectionId(7);
    assert_eq!(connections.lost(id, GATEWAY).violation_of(GATEWAY), Some(id));
    let ended = Ended::new(id, Some(summary(1, 2)));
    assert_eq!(connections.ended(ended, GATEWAY).violation_of(GATEWAY), Some(id));
    nothing(&connections.dialled(id, 1, TARGET.into()));
    nothing(&connections.settled(&[id], 1));
    is_at_rest(&connections);
}

#[test]
fn a_connection_is_recorded_once() {
    let mut connections = table();
    let id = handed_over(&mut connections);
    assert!(connections.record(id, None, GATEWAY).is_some());
    assert_eq!(connections.record(id, None, GATEWAY), None);
}

/// Lies of a gateway that has requested a target, before and after the connector's report. The target has
/// both of its records, and no connection remains.
#[test]
fn no_gateway_can_hide_a_target() {
    let acts: [fn(&mut Connections, ConnectionId) -> Todo; 3] = [
        |connections, id| connections.lost(id, GATEWAY),
        |connections, id| connections.ended(Ended::new(id, None), GATEWAY),
        |connections, id| connections.ended(Ended::new(id, Some(summary(1, 2))), GATEWAY),
    ];
    for (number, act) in acts.iter().enumerate() {
        let is_lost = number == 0;
        for is_late in [true, false] {
            let case = format!("act {number}, late {is_late}");
            let mut connections = table();
            let id = handed_over(&mut connections);
            if is_late {
                nothing(&act(&mut connections, id));
                let todo = connections.dialled(id, 1, TARGET.into());
                assert_eq!(todo.violation_of(GATEWAY).is_some(), is_lost, "{case}");
                nothing(&settle(&mut connections));
            } else {
                nothing(&connections.dialled(id, 1, TARGET.into()));
                assert_eq!(connections.totals().sessions, 1);
                let todo = act(&mut connections, id);
                assert_eq!(todo.violation_of(GATEWAY).is_some(), is_lost, "{case}");
                assert!(connections.to_forget(1, 9).is_empty(), "{case}: nothing is to be asked");
            }
            nothing(&connections.gateway_gone(GATEWAY));
            is_at_rest(&connections);
            let bytes = if number == 2 { 3 } else { 0 };
            assert_eq!(connections.totals(), Totals { sessions: 0, opened: 1, bytes }, "{case}");
            assert_eq!(connections.ended_sessions().closed_by.values().sum::<u64>(), 1, "{case}");
        }
    }
}

#[test]
fn a_session_that_the_connector_does_not_know_is_a_violation() {
    let mut connections = table();
    let id = handed_over(&mut connections);
    let session = Some(summary(1, 2));
    nothing(&connections.ended(Ended::new(id, session.clone()), GATEWAY));
    assert_eq!(connections.ended(Ended::new(id, session), GATEWAY).violation_of(GATEWAY), Some(id), "twice");
    assert_eq!(settle(&mut connections).violation_of(GATEWAY), Some(id));
    is_at_rest(&connections);
    assert_eq!(connections.totals(), Totals::default());
}

#[test]
fn a_session_whose_connector_died_silently_is_recorded_all_the_same() {
    for dies_first in [true, false] {
        for is_replaced in [true, false] {
            let mut connections = table();
            let id = handed_over(&mut connections);
            let ended = Ended::new(id, Some(summary(1, 2)));
            if !dies_first {
                nothing(&connections.ended(ended.clone(), GATEWAY));
            }
            nothing(&connections.connector_gone(1));
            if is_replaced {
                connections.connector_starts(1);
            }
            if dies_first {
                nothing(&connections.ended(ended, GATEWAY));
            }
            nothing(&settle(&mut connections));
            is_at_rest(&connections);
            assert_eq!(connections.totals(), Totals { sessions: 0, opened: 1, bytes: 3 });
        }
    }
}

#[test]
fn every_session_is_counted_once() {
    let mut connections = table();
    let id = handed_over(&mut connections);
    nothing(&connections.dialled(id, 1, TARGET.into()));
    nothing(&connections.dialled(id, 1, TARGET.into()));
    assert_eq!(connections.totals(), Totals { sessions: 1, opened: 1, bytes: 0 });
    nothing(&connections.ended(Ended::new(id, Some(summary(3, 4))), GATEWAY));
    assert_eq!(connections.totals(), Totals { sessions: 0, opened: 1, bytes: 7 });
}

#[test]
fn a_connector_can_not_affect_another_generation() {
    let mut connections = table();
    let id = handed_over(&mut connections);
    nothing(&connections.dialled(id, 2, TARGET.into()));
    nothing(&connections.ended(Ended::new(id, None), GATEWAY));
    nothing(&connections.settled(&[id], 2));
    nothing(&connections.connector_gone(2));
    assert!(!connections.is_empty());
}

#[test]
fn a_new_connector_rejects_tickets_that_may_be_spent() {
    let mut connections = table();
    let [with_target, without, gone] = [(); 3].map(|()| handed_over(&mut connections));
    nothing(&connections.dialled(with_target, 1, TARGET.into()));
    nothing(&connections.ended(Ended::new(gone, None), GATEWAY));
    let waiting = accepted(&mut connections);
    let past = connections.connector_starts(1);
    assert_eq!((past.last, past.fresh), (waiting.0, [without, waiting].into()));
}

#[test]
fn a_gateway_has_as_many_connections_as_are_not_settled() {
    let mut connections = table();
    let id = accepted(&mut connections);
    let Offered { socket, .. } = connections.offer(id, 1, GATEWAY, 0, &Networks::default()).unwrap();
    assert_eq!(connections.load_of(GATEWAY), 1, "its place is taken while it is being sent");
    nothing(&connections.undelivered(id, socket));
    assert_eq!(connections.load_of(GATEWAY), 0);
    hand_over(&mut connections, id);
    nothing(&connections.ended(Ended::new(id, None), GATEWAY));
    assert_eq!(connections.load_of(GATEWAY), 1, "by its own word it has none");
    assert_eq!(settle(&mut connections).freed, [GATEWAY]);
    assert_eq!(connections.load_of(GATEWAY), 0);
}

#[test]
fn a_connection_is_not_left_unread_for_long() {
    let mut connections = table();
    let second = Duration::from_secs(1);
    let [old, read, young] = [(); 3].map(|()| accepted(&mut connections));
    hand_over(&mut connections, old);
    hand_over(&mut connections, read);
    connections.acknowledged(read, GATEWAY);
    nothing(&connections.overdue(second, |_| second));
    hand_over(&mut connections, young);
    assert_eq!(connections.overdue(second, |_| second).hung, [GATEWAY]);
    nothing(&connections.gateway_gone(GATEWAY));
    assert_eq!(settle(&mut connections).offers.len(), 2, "the others go elsewhere");
}

#[test]
fn a_table_survives_an_upgrade() {
    let mut connections = table();
    let [waiting, unread, ended] = [(); 3].map(|()| accepted(&mut connections));
    hand_over(&mut connections, unread);
    hand_over(&mut connections, ended);
    nothing(&connections.ended(Ended::new(ended, None), GATEWAY));
    let text = serde_json::to_string(&connections.snapshot(|_| Ok(0)).unwrap()).unwrap();
    let mut next = Connections::default();
    let take = |_| Some(std::fs::File::open("/dev/null").unwrap().into());
    let todo = next.adopt(common::json::object(text.as_bytes()).unwrap(), take);
    assert_eq!(todo.offers, [(waiting, None)]);
    assert!(todo.settle, "the connector was not asked yet");
    nothing(&settle(&mut next));
    assert_eq!((next.load_of(GATEWAY), next.any_unread()), (1, true));
    nothing(&next.gateway_gone(GATEWAY));
    assert_eq!(settle(&mut next).offers.len(), 1);
}

#[test]
fn a_session_can_not_have_forwarded_more_than_time_allows() {
    let count = |id, to_target| Count { id, to_target, to_client: 0, frames: Frames::default() };
    let mut connections = table();
    let id = handed_over(&mut connections);
    nothing(&connections.dialled(id, 1, TARGET.into()));
    assert!(connections.counted(&count(id, 9), GATEWAY));
    assert!(connections.counted(&count(id, 9), GATEWAY));
    assert!(!connections.counted(&count(id, 8), GATEWAY), "less than before");
    assert!(!connections.counted(&count(id, u64::MAX), GATEWAY), "more than can be");
    assert!(!connections.counted(&count(id, 9), OTHER), "another's");
    assert!(!connections.counted(&count(ConnectionId(77), 9), GATEWAY), "nobody's");
    for session in [summary(u64::MAX, 0), summary(9, u64::MAX), summary(8, 0)] {
        let ended = Ended::new(id, Some(session));
        assert_eq!(connections.ended(ended, GATEWAY).violation_of(GATEWAY), Some(id));
    }
    nothing(&connections.gateway_gone(GATEWAY));
    assert_eq!(
        connections.totals(),
        Totals { sessions: 0, opened: 1, bytes: 0 },
        "ended, and nothing counted"
    );
    is_at_rest(&connections);
}

#[test]
fn a_target_can_not_have_been_reached_before_its_client_came() {
    let mut connections = table();
    let id = handed_over(&mut connections);
    assert!(connections.can_have_taken(id, Duration::from_millis(900)));
    assert!(!connections.can_have_taken(id, Duration::from_secs(3)));
}

#[test]
fn a_target_counts_once_however_often_it_is_told_of() {
    let mut connections = table();
    let id = handed_over(&mut connections);
    assert!(connections.awaits_target(id));
    nothing(&connections.dialled(id, 1, "here".into()));
    assert!(!connections.awaits_target(id));
    assert!(!connections.awaits_target(ConnectionId(77)));
}

#[test]
fn a_role_names_the_clients_of_its_own_connections_and_of_no_others() {
    let mut connections = table();
    let client = ClientLookup::Client(ClientAddr::Unix("/run/x".into()));
    let (open, ended, waiting) =
        (handed_over(&mut connections), handed_over(&mut connections), accepted(&mut connections));
    nothing(&connections.ended(Ended::new(ended, None), GATEWAY));
    // Once while the connector is being asked, and once after it has answered and the connection is
    // forgotten.
    for _ in 0..2 {
        for id in [open, ended] {
            assert_eq!(connections.client_of_gateway(id, None, GATEWAY), client);
            assert_eq!(connections.client_of_gateway(id, None, OTHER), ClientLookup::Foreign);
            assert_eq!(connections.client_of_generation(id, None, 1), client);
            assert_eq!(connections.client_of_generation(id, None, 2), ClientLookup::Foreign);
        }
        let _ = settle(&mut connections);
    }
    assert_eq!(connections.client_of_gateway(waiting, None, GATEWAY), ClientLookup::Foreign);
    assert_eq!(connections.client_of_gateway(ConnectionId(99), None, GATEWAY), ClientLookup::Unknown);
}

#[test]
fn only_trusted_proxies_have_roles_vouch_for_clients() {
    let loopback = json::object::<Proxy>(br#"{"trusted": "127.0.0.0/8"}"#).unwrap().trusted;
    let vouched = Some(SocketAddr::from(([192, 0, 2, 7], 0)));
    let named = ClientLookup::Client(ClientAddr::Ip(([192, 0, 2, 7], 0).into()));
    for (peer, is_proxy) in
        [("127.0.0.1:40000", true), ("[::ffff:127.0.0.1]:40000", true), ("10.0.0.1:1", false)]
    {
        let mut connections = table();
        let id = connections.accept(
            ClientAddr::Ip(peer.parse().unwrap()),
            None,
            true,
            std::fs::File::open("/dev/null").unwrap().into(),
        );
        let Offered { proxy_header, socket, .. } = connections.offer(id, 1, GATEWAY, 0, &loopback).unwrap();
        assert_eq!(proxy_header, is_proxy, "{peer}");
        nothing(&connections.delivered(id, socket));
        let expected = if is_proxy { &named } else { &ClientLookup::Foreign };
        for _ in 0..2 {
            assert_eq!(connections.client_of_gateway(id, vouched, GATEWAY), *expected, "{peer}");
            assert_eq!(connections.client_of_generation(id, vouched, 1), *expected, "{peer}");
            assert_eq!(connections.client_of_gateway(id, vouched, OTHER), ClientLookup::Foreign);
            if connections.awaits_target(id) {
                assert_eq!(connections.record(id, vouched, GATEWAY).is_some(), is_proxy, "{peer}");
                nothing(&connections.ended(Ended::new(id, None), GATEWAY));
                let _ = settle(&mut connections);
            }
        }
    }
}

#[test]
fn a_listener_expects_the_proxy_protocol_whichever_gateway_serves() {
    let trusted = json::object::<Proxy>(br#"{"trusted": "unix"}"#).unwrap().trusted;
    for expects in [true, false] {
        let mut connections = table();
        let socket = std::fs::File::open("/dev/null").unwrap().into();
        let mut id = connections.accept(ClientAddr::Unix("/run/x".into()), None, expects, socket);
        for _ in 0..2 {
            let Offered { proxy_header, socket, .. } =
                connections.offer(id, 1, GATEWAY, 0, &trusted).unwrap();
            assert_eq!(proxy_header, expects);
            nothing(&connections.delivered(id, socket));
            let _ = connections.gateway_gone(GATEWAY);
            let again = settle(&mut connections);
            id = again.offers.first().map_or(id, |(id, _)| *id);
        }
    }
}

#[test]
fn a_connection_has_one_socket_of_root_from_the_connector_of_its_generation() {
    const CONNECTOR: i32 = 100;
    let mut connections = table();
    let id = handed_over(&mut connections);
    assert_eq!(connections.socket_claim(id, 1, CONNECTOR), SocketClaim::Good);
    assert_eq!(connections.claim_socket(id, 2, CONNECTOR), SocketClaim::Wrong, "another generation's");
    assert_eq!(connections.claim_socket(ConnectionId(99), 1, CONNECTOR), SocketClaim::Wrong, "there is none");
    let waiting = accepted(&mut connections);
    assert_eq!(connections.claim_socket(waiting, 1, CONNECTOR), SocketClaim::Wrong, "no gateway has it");
    assert_eq!(connections.claim_socket(id, 1, CONNECTOR), SocketClaim::Good);
    assert_eq!(connections.claim_socket(id, 1, CONNECTOR), SocketClaim::Wrong, "a second one");
    assert_eq!(connections.socket_claim(id, 1, CONNECTOR + 1), SocketClaim::Good, "one that follows it");
    nothing(&connections.dialled(id, 1, "target".into()));
    assert_eq!(connections.claim_socket(id, 1, CONNECTOR + 1), SocketClaim::Over, "it has a target");
    let left = handed_over(&mut connections);
    let _ = connections.ended(Ended::new(left, None), GATEWAY);
    assert_eq!(connections.claim_socket(left, 1, CONNECTOR), SocketClaim::Over, "it has left its gateway");
    let _ = settle(&mut connections);
    assert_eq!(connections.claim_socket(left, 1, CONNECTOR), SocketClaim::Over, "it is over");
    assert_eq!(connections.claim_socket(left, 2, CONNECTOR), SocketClaim::Wrong);
}

/// A connection of a trusted proxy that a gateway reads.
fn of_a_proxy(connections: &mut Connections) -> ConnectionId {
    let trusted = json::object::<Proxy>(br#"{"trusted": "10.0.0.0/8"}"#).unwrap().trusted;
    let client = ClientAddr::Ip(([10, 0, 0, 1], 1).into());
    let source = connections.arrives(&client, || None).unwrap();
    assert_eq!(source, None, "a proxy is not limited");
    let id = connections.accept(client, source, false, std::fs::File::open("/dev/null").unwrap().into());
    let Offered { socket, .. } = connections.offer(id, 1, GATEWAY, 0, &trusted).unwrap();
    nothing(&connections.delivered(id, socket));
    connections.acknowledged(id, GATEWAY);
    id
}

/// A table with limits for each source, among which is one session.
fn limited() -> Connections {
    let mut connections = table();
    let trusted = json::object::<Proxy>(br#"{"trusted": "10.0.0.0/8"}"#).unwrap().trusted;
    connections.set_places(100_000);
    let per_source = PerSource { sessions: NonZeroU32::new(1), ..PerSource::default() };
    connections.sources_mut().obey(Some(per_source), Some(Penalties::default()), trusted);
    connections
}

fn somebody(last: u8) -> SocketAddr {
    ([192, 0, 2, last], 0).into()
}

const SERVED: Option<SourceVerdict> = Some(SourceVerdict::Served);

#[test]
fn a_proxys_connection_counts_for_the_client_for_which_the_proxy_vouches() {
    let mut connections = limited();
    let (one, two) = (of_a_proxy(&mut connections), of_a_proxy(&mut connections));
    assert_eq!(connections.check_source(one, 1, somebody(1), false), SERVED);
    assert_eq!(connections.check_source(one, 1, somebody(1), false), SERVED, "the answer may have been lost");
    nothing(&connections.dialled(one, 1, TARGET.into()));
    let again = SourceVerdict::TurnedAway { retry_after: 1 };
    assert_eq!(connections.check_source(two, 1, somebody(1), false), Some(again), "it has a session");
    assert_eq!(connections.check_source(two, 1, somebody(1), true), SERVED, "and may have pages");
    assert_eq!(connections.check_source(two, 1, somebody(2), false), SERVED, "another client");
    assert_eq!(connections.check_source(two, 1, ([10, 0, 0, 2], 0).into(), false), SERVED, "another proxy");
    nothing(&connections.ended(Ended::new(one, Some(some_summary())), GATEWAY));
    assert_eq!(connections.check_source(two, 1, somebody(1), false), SERVED);
    let snapshot = serde_json::to_string(&connections.snapshot(|_| Ok(0)).unwrap()).unwrap();
    let mut connections = limited();
    nothing(&connections.adopt(json::object(snapshot.as_bytes()).unwrap(), |_| None));
    nothing(&connections.dialled(two, 1, TARGET.into()));
    let three = of_a_proxy(&mut connections);
    assert_eq!(
        connections.check_source(three, 1, somebody(1), false),
        Some(again),
        "an upgrade came between"
    );
    nothing(&connections.ended(Ended::new(two, Some(some_summary())), GATEWAY));
    nothing(&connections.ended(Ended::new(three, None), GATEWAY));
    nothing(&settle(&mut connections));
    is_at_rest(&connections);
}

#[test]
fn a_page_takes_a_place_of_its_client_until_it_is_served() {
    let mut connections = table();
    let trusted = json::object::<Proxy>(br#"{"trusted": "10.0.0.0/8"}"#).unwrap().trusted;
    let one = NonZeroU32::new(1).unwrap();
    let per_source = PerSource { connections: one, rate: one, ..PerSource::default() };
    connections.sources_mut().obey(Some(per_source), None, trusted);
    let (one, two) = (of_a_proxy(&mut connections), of_a_proxy(&mut connections));
    for _ in 0..100 {
        assert_eq!(connections.check_source(one, 1, somebody(1), true), SERVED);
        let refused = connections.check_source(two, 1, somebody(1), true);
        assert_eq!(refused, Some(SourceVerdict::TurnedAway { retry_after: 1 }));
        connections.page_served(one, 2);
        assert_eq!(connections.check_source(two, 1, somebody(1), true), refused, "of another generation");
        connections.page_served(one, 1);
    }
}

#[test]
fn clients_of_proxies_are_penalised_and_proxies_are_not() {
    let mut connections = limited();
    let punished = |connections: &Connections| {
        let punished = connections.sources().punished(crate::os::clock::now());
        punished.iter().map(|one| one.source.to_string()).collect::<Vec<_>>()
    };
    // 13 times 5 seconds, as some time passes.
    for guess in 1..=13 {
        let id = of_a_proxy(&mut connections);
        assert_eq!(connections.check_source(id, 1, somebody(1), guess % 2 == 0), SERVED, "guess {guess}");
        connections.connector_reports(&[Offender { id, offence: Offence::WrongPassword }], 1);
        nothing(&connections.ended(Ended::new(id, None), GATEWAY));
    }
    let id = of_a_proxy(&mut connections);
    for page in [true, false] {
        let verdict = connections.check_source(id, 1, somebody(1), page);
        assert!(matches!(verdict, Some(SourceVerdict::TurnedAway { retry_after: 64..=65 })), "{verdict:?}");
    }
    assert_eq!(punished(&connections), ["192.0.2.1"]);
    // What a gateway notices concerns whom it names, which need not be whom the connector has asked about.
    assert_eq!(connections.check_source(id, 1, somebody(2), true), SERVED);
    connections.page_served(id, 1);
    let offence = Some(Offence::ProtocolViolation);
    let ended = Ended { offence, vouched: Some(somebody(3)), ..Ended::new(id, None) };
    nothing(&connections.ended(ended, GATEWAY));
    assert_eq!(punished(&connections), ["192.0.2.1", "192.0.2.3"]);
    let unknown = of_a_proxy(&mut connections);
    nothing(&connections.ended(Ended { offence, ..Ended::new(unknown, None) }, GATEWAY));
    assert_eq!(punished(&connections).len(), 2);
}

#[test]
fn only_the_connector_of_a_proxys_connection_can_ask_about_its_client() {
    let mut connections = limited();
    let (of_proxy, direct) = (of_a_proxy(&mut connections), handed_over(&mut connections));
    assert_eq!(connections.check_source(direct, 1, somebody(1), false), None, "no proxy vouches");
    assert_eq!(connections.check_source(of_proxy, 2, somebody(1), false), None, "another generation's");
    assert_eq!(connections.check_source(ConnectionId(99), 1, somebody(1), false), None, "there is none");
    let ended = Ended { vouched: Some(somebody(1)), ..Ended::new(direct, None) };
    assert_eq!(connections.ended(ended, GATEWAY).violation_of(GATEWAY), Some(direct), "no proxy vouches");
    nothing(&connections.ended(Ended::new(of_proxy, None), GATEWAY));
    assert_eq!(connections.check_source(of_proxy, 1, somebody(1), false), Some(SourceVerdict::Over));
}

#[test]
fn a_target_has_so_many_sessions_and_claims_and_no_more() {
    let mut connections = table();
    let before = handed_over(&mut connections);
    nothing(&connections.dialled(before, 1, TARGET.into()));
    let unlimited = handed_over(&mut connections);
    assert_eq!(connections.claim_target(unlimited, 1, TARGET), Some(true));
    connections.limit_targets(NonZeroU32::new(2));
    let [one, two, other] = [(); 3].map(|()| handed_over(&mut connections));
    assert_eq!(connections.claim_target(one, 1, TARGET), Some(true));
    assert_eq!(connections.claim_target(one, 1, TARGET), Some(true), "the answer may have been lost");
    assert_eq!(connections.claim_target(two, 1, TARGET), Some(false), "a session and a claim");
    assert_eq!(connections.claim_target(two, 1, "next"), Some(true), "the next one in its list");
    assert_eq!(connections.claim_target(other, 2, TARGET), None, "another generation's");
    assert_eq!(connections.claim_target(ConnectionId(99), 1, TARGET), None, "there is none");
    connections.release(one, 2);
    assert_eq!(connections.claim_target(other, 1, TARGET), Some(false));
    connections.release(one, 1);
    assert_eq!(connections.claim_target(other, 1, TARGET), Some(true));
    nothing(&connections.dialled(other, 1, TARGET.into()));
    connections.release(other, 1);
    assert_eq!(connections.claim_target(two, 1, TARGET), Some(false), "a session keeps its claim");
    let snapshot = serde_json::to_string(&connections.snapshot(|_| Ok(0)).unwrap()).unwrap();
    let mut connections = Connections::default();
    nothing(&connections.adopt(json::object(snapshot.as_bytes()).unwrap(), |_| None));
    connections.limit_targets(NonZeroU32::new(2));
    let later = handed_over(&mut connections);
    assert_eq!(connections.claim_target(later, 1, TARGET), Some(false), "an upgrade came between");
    nothing(&connections.ended(Ended::new(before, Some(some_summary())), GATEWAY));
    assert_eq!(connections.claim_target(later, 1, TARGET), Some(true));
    nothing(&connections.gateway_gone(GATEWAY));
    let _ = settle(&mut connections);
    connections.limit_targets(None);
    let unlimited = handed_over(&mut connections);
    assert_eq!(connections.claim_target(unlimited, 1, TARGET), Some(true));
}

fn one_use() -> UseLimits {
    UseLimits { uses: NonZeroU32::new(1), sessions: None, reconnect: None, lifetime: None, expires: None }
}

const GRANTED: Option<Reservation> = Some(Reservation::Granted { lifetime: None });
const USED_UP: Option<Reservation> = Some(Reservation::UsedUp);

#[test]
fn a_use_belongs_to_one_connection_until_that_has_no_session() {
    let mut connections = table();
    let (one, two) = (handed_over(&mut connections), handed_over(&mut connections));
    assert_eq!(connections.reserve(one, 1, "t", &one_use()), GRANTED);
    // The answer may have been lost in an upgrade.
    assert_eq!(connections.reserve(one, 1, "t", &one_use()), GRANTED);
    assert_eq!(connections.reserve(two, 1, "t", &one_use()), USED_UP);
    connections.release(one, 1);
    assert_eq!(connections.reserve(two, 1, "t", &one_use()), GRANTED);
    connections.acknowledged(two, GATEWAY);
    nothing(&connections.ended(Ended::new(two, None), GATEWAY));
    nothing(&settle(&mut connections));
    let three = handed_over(&mut connections);
    assert_eq!(connections.reserve(three, 1, "t", &one_use()), GRANTED);
    nothing(&connections.dialled(three, 1, TARGET.into()));
    // A session keeps its use.
    connections.release(three, 1);
    nothing(&connections.ended(Ended::new(three, Some(some_summary())), GATEWAY));
    let four = handed_over(&mut connections);
    assert_eq!(connections.reserve(four, 1, "t", &one_use()), USED_UP);
}

#[test]
fn a_use_outlives_an_upgrade_and_the_connector_and_ends_with_its_gateway() {
    let mut connections = table();
    let lasting = UseLimits { reconnect: Some(Duration::from_secs(60)), ..one_use() };
    let one = handed_over(&mut connections);
    assert_eq!(connections.reserve(one, 1, "t", &lasting), GRANTED);
    nothing(&connections.dialled(one, 1, TARGET.into()));
    nothing(&connections.connector_gone(1));
    connections.connector_starts(1);
    let snapshot = serde_json::to_string(&connections.snapshot(|_| Ok(0)).unwrap()).unwrap();
    let mut connections = Connections::default();
    nothing(&connections.adopt(json::object(snapshot.as_bytes()).unwrap(), |_| None));
    let two = handed_over(&mut connections);
    assert_eq!(connections.reserve(two, 1, "t", &lasting), USED_UP);
    nothing(&connections.gateway_gone(GATEWAY));
    let three = handed_over(&mut connections);
    // The session was lost.
    assert_eq!(connections.reserve(three, 1, "t", &lasting), GRANTED);
}

#[test]
fn only_a_connector_can_reserve_and_only_for_a_connection_of_its_own() {
    let mut connections = table();
    let one = handed_over(&mut connections);
    assert_eq!(connections.reserve(one, 2, "t", &one_use()), None);
    assert_eq!(connections.reserve(ConnectionId(one.0 + 1), 1, "t", &one_use()), None);
    assert_eq!(connections.reserve(one, 1, "t", &one_use()), GRANTED);
    assert_eq!(connections.reserve(one, 1, "other", &one_use()), None);
    connections.acknowledged(one, GATEWAY);
    nothing(&connections.ended(Ended::new(one, None), GATEWAY));
    assert_eq!(connections.reserve(one, 1, "t", &one_use()), Some(Reservation::Over));
    nothing(&settle(&mut connections));
    assert_eq!(connections.reserve(one, 1, "t", &one_use()), Some(Reservation::Over));
}

#[test]
fn a_role_has_sources_penalised_for_its_own_connections_once() {
    let mut connections = table();
    connections.sources_mut().obey(None, Some(Penalties::default()), Networks::default());
    let penalty = |connections: &Connections| {
        let punished = connections.sources().punished(crate::os::clock::now());
        punished.first().map_or(0, |one| one.penalty.as_millis().div_ceil(1000))
    };
    let arrive = |connections: &mut Connections, last| {
        let client = ClientAddr::Ip(([192, 0, 2, last], 1).into());
        let source = connections.arrives(&client, || None).unwrap();
        let id = connections.accept(client, source, false, std::fs::File::open("/dev/null").unwrap().into());
        hand_over(connections, id);
        id
    };
    let id = arrive(&mut connections, 1);
    let wrong = Offender { id, offence: Offence::WrongPassword };
    connections.connector_reports(&[wrong], 2);
    let ended = |id, offence| Ended { offence: Some(offence), ..Ended::new(id, None) };
    let _ = connections.ended(ended(id, Offence::ProtocolViolation), OTHER);
    assert_eq!(penalty(&connections), 0, "of others");
    connections.connector_reports(&[wrong, wrong], 1);
    nothing(&connections.ended(ended(id, Offence::ProtocolViolation), GATEWAY));
    assert_eq!(penalty(&connections), 5, "once");
    let _ = settle(&mut connections);
    connections.connector_reports(&[wrong], 1);
    assert_eq!(penalty(&connections), 5, "after its end");
    is_at_rest(&connections);
    // A crash is shared by the sources whose requests were being read.
    for last in [2, 3] {
        let read = arrive(&mut connections, last);
        connections.acknowledged(read, GATEWAY);
    }
    arrive(&mut connections, 4);
    connections.gateway_crashed(GATEWAY);
    assert_eq!(
        (penalty(&connections), connections.sources().punished(crate::os::clock::now()).len()),
        (15, 3)
    );
}
