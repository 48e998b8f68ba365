//! What becomes of connections whose gateways or connectors come and go.

use common::ipc::gateway::Frames;

use super::*;

const GATEWAY: GatewayId = GatewayId(1);
const OTHER: GatewayId = GatewayId(2);

fn summary(to_target: u64, to_client: u64) -> SessionSummary {
    let (closed_by, close_reason) = (ClosedBy::Client, String::new());
    SessionSummary {
        to_target,
        to_client,
        closed_by,
        close_code: 1000,
        close_reason,
        frames: Frames::default(),
    }
}

fn handed_over(connections: &mut Connections) -> ConnectionId {
    let socket = std::fs::File::open("/dev/null").unwrap().into();
    let unserved = connections.accept(ClientAddr::Unix("/run/x".into()), socket);
    let id = unserved.id;
    connections.handed_over(unserved, 1, GATEWAY, 0);
    id
}

#[test]
fn a_connection_that_nobody_has_read_survives_its_gateway() {
    let mut connections = Connections::default();
    let (fresh, begun) = (handed_over(&mut connections), handed_over(&mut connections));
    connections.begun(begun, GATEWAY);
    let orphans = connections.orphaned(GATEWAY);
    assert_eq!(orphans.unserved.iter().map(|one| one.id).collect::<Vec<_>>(), [fresh]);
    assert!(connections.open.is_empty() && !connections.any_unbegun());
}

#[test]
fn a_connection_that_kills_gateways_is_given_up() {
    let mut connections = Connections::default();
    handed_over(&mut connections);
    for expected in [1, 0] {
        let orphans = connections.orphaned(GATEWAY);
        assert_eq!(orphans.unserved.len(), expected);
        for unserved in orphans.unserved {
            connections.handed_over(unserved, 1, GATEWAY, 0);
        }
    }
}

#[test]
fn a_gateway_has_no_say_over_connections_of_another() {
    let mut connections = Connections::default();
    let id = handed_over(&mut connections);
    connections.begun(id, OTHER);
    assert!(!connections.ended(Ended { id, session: None }, OTHER));
    assert_eq!(connections.orphaned(GATEWAY).unserved.len(), 1, "still there, still not begun");
}

#[test]
fn a_connection_is_recorded_once_and_by_its_own_gateway() {
    let mut connections = Connections::default();
    let id = handed_over(&mut connections);
    assert_eq!(connections.record(id, OTHER), None);
    assert!(connections.record(id, GATEWAY).is_some());
    assert_eq!(connections.record(id, GATEWAY), None);
}

#[test]
fn a_session_may_end_before_its_begin_is_told() {
    for connector_dies in [false, true] {
        let mut connections = Connections::default();
        let id = handed_over(&mut connections);
        let summary = summary(1, 2);
        assert!(connections.ended(Ended { id, session: Some(summary.clone()) }, GATEWAY));
        assert!(!connections.ended(Ended { id, session: Some(summary) }, GATEWAY), "told twice");
        if connector_dies {
            connections.connector_gone(1);
        } else {
            connections.opened(id, "localhost:5901".into());
        }
        assert_eq!(connections.totals(), Totals { sessions: 0, opened: 1, bytes: 3 });
        assert!(connections.open.is_empty());
    }
}

#[test]
fn a_session_that_has_ended_is_recorded_after_its_gateway() {
    let mut connections = Connections::default();
    let id = handed_over(&mut connections);
    let session = summary(1, 2);
    assert!(connections.ended(Ended { id, session: Some(session) }, GATEWAY));
    assert_eq!(connections.orphaned(GATEWAY).lost_sessions, 0);
    connections.opened(id, "localhost:5901".into());
    assert_eq!(connections.totals(), Totals { sessions: 0, opened: 1, bytes: 3 });
    assert!(connections.open.is_empty());
}

#[test]
fn a_session_whose_connector_died_silently_is_recorded_all_the_same() {
    let mut connections = Connections::default();
    let id = handed_over(&mut connections);
    connections.connector_gone(1);
    let session = summary(1, 2);
    assert!(connections.ended(Ended { id, session: Some(session) }, GATEWAY));
    assert_eq!(connections.totals(), Totals { sessions: 0, opened: 1, bytes: 3 });
    assert!(connections.open.is_empty());
}

#[test]
fn every_session_is_counted_once() {
    let mut connections = Connections::default();
    let id = handed_over(&mut connections);
    connections.opened(id, "localhost:5901".into());
    connections.opened(id, "localhost:5901".into());
    assert_eq!(connections.totals(), Totals { sessions: 1, opened: 1, bytes: 0 });
    let session = summary(3, 4);
    assert!(connections.ended(Ended { id, session: Some(session) }, GATEWAY));
    assert_eq!(connections.totals(), Totals { sessions: 0, opened: 1, bytes: 7 });
}

#[test]
fn what_has_a_target_is_of_the_past() {
    let mut connections = Connections::default();
    let [with_target, without, gone] = [(); 3].map(|()| handed_over(&mut connections));
    connections.opened(with_target, "localhost:5901".into());
    assert!(connections.ended(Ended { id: gone, session: None }, GATEWAY));
    let socket = std::fs::File::open("/dev/null").unwrap().into();
    let unplaced = connections.accept(ClientAddr::Unix("/run/x".into()), socket);
    let past = connections.past();
    assert_eq!((past.last, past.fresh), (unplaced.id.0, [without, unplaced.id].into()));
}
