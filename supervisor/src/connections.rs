//! The table of accepted connections: who serves each, and what becomes of it.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::control;
use common::ipc::gateway::{ClosedBy, Ended, SessionSummary};
use common::ipc::request::Request;
use common::ipc::{ClientAddr, ConnectionId, GatewayId};
use serde::{Deserialize, Serialize};

use crate::session_log::{self, CRASH, Run, Subject};

/// Gateways that may die over one connection before it is given up: what crashes one gateway must not
/// roll through all of them.
const MAX_GATEWAYS: u8 = 2;

/// The target of a session whose connector died before it could name it.
const UNKNOWN: &str = "unknown";

/// All connections that a gateway has and that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: HashMap<ConnectionId, Connection>,
    last: u64,
    totals: Totals,
    ended: EndedSessions,
    /// Connections that no gateway has begun to read.
    unbegun: usize,
    /// Counts connections that no gateway has been given yet.
    unplaced: Rc<Cell<usize>>,
    /// What names the sessions of this run.
    run: Run,
}

/// One connection.
#[derive(Debug)]
struct Connection {
    client: ClientAddr,
    since: Instant,
    /// The generation of the gateway.
    generation: u32,
    gateway: GatewayId,
    /// The gateway's process.
    pid: i32,
    /// Its connector has died, and what that has not said about it will never be said.
    connector_died: bool,
    /// Our copy of its socket, until the gateway has begun to read from it.
    unbegun: Option<OwnedFd>,
    /// How many gateways it was given to before.
    tried: u8,
    /// By what request it becomes a session, if its gateway says so.
    request: Option<Box<Request>>,
    session: Option<Box<Session>>,
    /// It has a file for its recording.
    is_recorded: bool,
    /// Its gateway says that its session has ended, and the connector's word that it began, which comes
    /// another way, is still to come.
    ended: Option<SessionSummary>,
}

impl Connection {
    /// It has a target, and has not ended.
    fn is_session(&self) -> bool {
        self.session.is_some() && self.ended.is_none()
    }
}

/// A connection that has a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Session {
    target: String,
    /// The record of its beginning is written. With a journal that waits for the gateway's word.
    #[serde(default)]
    told: bool,
}

/// A connection to be handed to a gateway.
#[derive(Debug)]
pub(crate) struct Unserved {
    /// Its number.
    pub(crate) id: ConnectionId,
    /// Where it comes from.
    pub(crate) client: ClientAddr,
    /// Its socket.
    pub(crate) socket: OwnedFd,
    /// How many gateways have had it and died.
    pub(crate) tried: u8,
    /// It counts as unplaced while this is there.
    pub(crate) unplaced: Unplaced,
}

/// Counts one connection while it lives.
#[derive(Debug)]
pub(crate) struct Unplaced(Rc<Cell<usize>>);

impl Unplaced {
    fn count(counter: &Rc<Cell<usize>>) -> Self {
        counter.set(counter.get() + 1);
        Self(counter.clone())
    }
}

impl Drop for Unplaced {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// All connections as one image of the supervisor hands them on to the next.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Handed {
    #[serde(default)]
    run: Run,
    last: u64,
    totals: Totals,
    #[serde(default)]
    ended: EndedSessions,
    open: Vec<HandedConnection>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HandedConnection {
    id: ConnectionId,
    #[serde(default)]
    pid: i32,
    #[serde(default)]
    request: Option<Box<Request>>,
    client: ClientAddr,
    age: Duration,
    generation: u32,
    gateway: GatewayId,
    connector_died: bool,
    unbegun: Option<RawFd>,
    tried: u8,
    session: Option<Box<Session>>,
    #[serde(default)]
    is_recorded: bool,
    ended: Option<SessionSummary>,
}

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Sessions that are open.
    pub(crate) sessions: u64,
    /// Sessions that were opened.
    pub(crate) opened: u64,
    /// Bytes of payload, both directions, of sessions that have ended.
    pub(crate) bytes: u64,
}

/// Bounds of the buckets of [`EndedSessions::buckets`], seconds.
const DURATIONS: [u32; 8] = [1, 10, 60, 300, 900, 3600, 14400, 86400];

/// Sums over sessions that have ended, for metrics.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EndedSessions {
    /// How many, by who ended them.
    pub(crate) closed_by: BTreeMap<String, u64>,
    /// Bytes of payload to targets.
    pub(crate) to_target: u64,
    /// Bytes of payload to clients.
    pub(crate) to_client: u64,
    /// How long they took together.
    pub(crate) seconds: f64,
    durations: [u64; DURATIONS.len() + 1],
}

impl EndedSessions {
    /// How many took up to so many seconds, and longer than the bound before. The last has no bound.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (String, u64)> {
        let bounds = DURATIONS.iter().map(u32::to_string).chain(["+Inf".into()]);
        bounds.zip(self.durations)
    }

    fn add(&mut self, closed_by: &str, to_target: u64, to_client: u64, seconds: f64) {
        *self.closed_by.entry(closed_by.into()).or_default() += 1;
        self.to_target = self.to_target.saturating_add(to_target);
        self.to_client = self.to_client.saturating_add(to_client);
        self.seconds += seconds;
        let bucket = DURATIONS.iter().take_while(|bound| seconds > f64::from(**bound)).count();
        if let Some(count) = self.durations.get_mut(bucket) {
            *count += 1;
        }
    }
}

/// What is left of the connections of a gateway that has died.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    /// Nobody has read from these: another gateway can serve them.
    pub(crate) unserved: Vec<Unserved>,
    /// So many sessions are lost.
    pub(crate) lost_sessions: usize,
}

impl Connections {
    /// A number and our record for a connection that was just accepted.
    pub(crate) fn accept(&mut self, client: ClientAddr, socket: OwnedFd) -> Unserved {
        self.last += 1;
        Unserved {
            id: ConnectionId(self.last),
            client,
            socket,
            tried: 0,
            unplaced: Unplaced::count(&self.unplaced),
        }
    }

    /// `gateway`, which is the process `pid` of `generation`, was given the connection.
    pub(crate) fn handed_over(&mut self, unserved: Unserved, generation: u32, gateway: GatewayId, pid: i32) {
        let Unserved { id, client, socket, tried, unplaced: _ } = unserved;
        let connection = Connection {
            client,
            since: Instant::now(),
            generation,
            gateway,
            pid,
            connector_died: false,
            unbegun: Some(socket),
            tried,
            request: None,
            session: None,
            is_recorded: false,
            ended: None,
        };
        self.unbegun += 1;
        self.open.insert(id, connection);
    }

    /// `gateway` is about to read from the connection: our copy of its socket is closed, as it would
    /// keep the client from seeing the end.
    pub(crate) fn begun(&mut self, id: ConnectionId, gateway: GatewayId) {
        if self.of(id, gateway).is_some_and(|connection| connection.unbegun.take().is_some()) {
            self.unbegun -= 1;
        }
    }

    /// Whether any connection waits for a gateway.
    pub(crate) fn any_unplaced(&self) -> bool {
        self.unplaced.get() > 0
    }

    /// How many connections a gateway has.
    pub(crate) fn load_of(&self, gateway: GatewayId) -> u64 {
        self.open.values().filter(|one| one.gateway == gateway && one.ended.is_none()).count() as u64
    }

    /// Everything for the next image. `pass` gives the numbers by which it knows our copies of sockets.
    pub(crate) fn hand_on(&self, mut pass: impl FnMut(&OwnedFd) -> io::Result<RawFd>) -> io::Result<Handed> {
        let mut open = Vec::with_capacity(self.open.len());
        for (id, connection) in &self.open {
            open.push(HandedConnection {
                id: *id,
                client: connection.client.clone(),
                age: connection.since.elapsed(),
                generation: connection.generation,
                gateway: connection.gateway,
                pid: connection.pid,
                request: connection.request.clone(),
                connector_died: connection.connector_died,
                unbegun: connection.unbegun.as_ref().map(&mut pass).transpose()?,
                tried: connection.tried,
                session: connection.session.clone(),
                is_recorded: connection.is_recorded,
                ended: connection.ended.clone(),
            });
        }
        Ok(Handed { run: self.run, last: self.last, totals: self.totals, ended: self.ended.clone(), open })
    }

    /// Goes on with what an earlier image has left. `take` gives the sockets.
    pub(crate) fn adopt(&mut self, handed: Handed, mut take: impl FnMut(RawFd) -> Option<OwnedFd>) {
        (self.last, self.totals, self.ended) = (handed.last, handed.totals, handed.ended);
        self.run = handed.run;
        let now = Instant::now();
        for one in handed.open {
            let unbegun = one.unbegun.and_then(&mut take);
            self.unbegun += usize::from(unbegun.is_some());
            let connection = Connection {
                client: one.client,
                since: now.checked_sub(one.age).unwrap_or(now),
                generation: one.generation,
                gateway: one.gateway,
                pid: one.pid,
                request: one.request,
                connector_died: one.connector_died,
                unbegun,
                tried: one.tried,
                session: one.session,
                is_recorded: one.is_recorded,
                ended: one.ended,
            };
            self.open.insert(one.id, connection);
        }
    }

    /// Whether any connection was handed over that its gateway has not begun to read.
    pub(crate) fn any_unbegun(&self) -> bool {
        self.unbegun > 0
    }

    /// `gateway` could not receive the socket. Gives the connection back for another try.
    pub(crate) fn lost(&mut self, id: ConnectionId, gateway: GatewayId) -> Option<Unserved> {
        self.of(id, gateway)?.unbegun.as_ref()?;
        let Connection { client, unbegun, tried, .. } = self.open.remove(&id)?;
        self.unbegun -= 1;
        let unplaced = Unplaced::count(&self.unplaced);
        Some(Unserved { id, client, socket: unbegun?, tried, unplaced })
    }

    /// `gateway` asks for a file to record the connection's session; gives the client, once.
    pub(crate) fn record(&mut self, id: ConnectionId, gateway: GatewayId) -> Option<ClientAddr> {
        let connection = self.of(id, gateway)?;
        let is_first = !std::mem::replace(&mut connection.is_recorded, true);
        is_first.then(|| connection.client.clone())
    }

    /// The connector has given the connection a target.
    pub(crate) fn opened(&mut self, id: ConnectionId, target: String) {
        let Some(connection) = self.open.get_mut(&id) else { return };
        if connection.session.is_none() {
            connection.session = Some(Box::new(Session { target, told: false }));
            self.totals.sessions += 1;
            self.totals.opened += 1;
            connection.tell_opened(self.run, id);
        }
        if let Some(summary) = connection.ended.take() {
            self.close(id, Some(&summary));
        }
    }

    /// The connection becomes a session by `request`; says whether it was one of `gateway`'s that had none.
    pub(crate) fn requested(&mut self, id: ConnectionId, request: Request, gateway: GatewayId) -> bool {
        let run = self.run;
        let Some(connection) = self.of(id, gateway).filter(|one| one.request.is_none()) else { return false };
        connection.request = Some(Box::new(request));
        connection.tell_opened(run, id);
        true
    }

    /// The connection has ended; says whether it was one of `gateway`'s.
    pub(crate) fn ended(&mut self, ended: Ended, gateway: GatewayId) -> bool {
        let Some(connection) = self.of(ended.id, gateway) else { return false };
        if connection.ended.is_some() {
            return false;
        }
        if connection.session.is_some() || ended.session.is_none() {
            self.close(ended.id, ended.session.as_ref());
            return true;
        }
        connection.ended = ended.session;
        if connection.connector_died {
            self.opened(ended.id, UNKNOWN.into());
        }
        true
    }

    /// The connector of a generation is gone, and what it has not said will never be said.
    pub(crate) fn connector_gone(&mut self, generation: u32) {
        let mut waiting = Vec::new();
        for (id, connection) in self.open.iter_mut().filter(|(_, one)| one.generation == generation) {
            connection.connector_died = true;
            if connection.ended.is_some() {
                waiting.push(*id);
            }
        }
        for id in waiting {
            self.opened(id, UNKNOWN.into());
        }
    }

    /// Takes out everything that a gateway had, because it has died, but for sessions that had ended: their
    /// records only wait for the connector's word.
    pub(crate) fn orphaned(&mut self, gateway: GatewayId) -> Orphans {
        let mut orphans = Orphans::default();
        let ids: Vec<_> = self
            .open
            .iter()
            .filter(|(_, one)| one.gateway == gateway && one.ended.is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            let Some(mut connection) = self.close(id, None) else { continue };
            orphans.lost_sessions += usize::from(connection.session.is_some());
            let tried = connection.tried + 1;
            if let (Some(socket), true) = (connection.unbegun.take(), tried < MAX_GATEWAYS) {
                let unplaced = Unplaced::count(&self.unplaced);
                orphans.unserved.push(Unserved { id, client: connection.client, socket, tried, unplaced });
            }
        }
        orphans
    }

    /// Whether any is of this generation.
    pub(crate) fn any_of(&self, generation: u32) -> bool {
        self.open.values().any(|connection| connection.generation == generation)
    }

    /// None is open or waits for a gateway.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && !self.any_unplaced()
    }

    /// Sums over sessions that have ended.
    pub(crate) fn ended_sessions(&self) -> EndedSessions {
        self.ended.clone()
    }

    /// The sessions of a gateway.
    pub(crate) fn sessions_of(&self, gateway: GatewayId) -> Vec<ConnectionId> {
        let some = self.open.iter().filter(|(_, one)| one.gateway == gateway && one.is_session());
        some.map(|(id, _)| *id).collect()
    }

    /// Who serves a session.
    pub(crate) fn gateway_of_session(&self, id: ConnectionId) -> Option<GatewayId> {
        self.open.get(&id).filter(|one| one.is_session()).map(|one| one.gateway)
    }

    /// All sessions, oldest first. How far they are their gateways know.
    pub(crate) fn sessions(&self) -> Vec<control::Session> {
        let mut sessions: Vec<_> = self
            .open
            .iter()
            .filter(|(_, one)| one.is_session())
            .map(|(id, one)| control::Session {
                id: id.0,
                client: match &one.client {
                    ClientAddr::Ip(address) => address.to_string(),
                    ClientAddr::Unix(path) => format!("unix:{path}"),
                },
                target: one.session.as_ref().map(|session| session.target.clone()).unwrap_or_default(),
                seconds: one.since.elapsed().as_secs(),
                generation: one.generation,
                ..control::Session::default()
            })
            .collect();
        sessions.sort_by_key(|session| session.id);
        sessions
    }

    /// Sums since the start.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    fn of(&mut self, id: ConnectionId, gateway: GatewayId) -> Option<&mut Connection> {
        self.open.get_mut(&id).filter(|connection| connection.gateway == gateway)
    }

    /// Takes a connection out. If it had a session, writes its closing record: one for each, whoever has
    /// ended it.
    fn close(&mut self, id: ConnectionId, summary: Option<&SessionSummary>) -> Option<Connection> {
        let connection = self.open.remove(&id)?;
        self.unbegun -= usize::from(connection.unbegun.is_some());
        let summary = connection.ended.as_ref().or(summary);
        let Some(session) = &connection.session else { return Some(connection) };
        let target = &session.target;
        if let Some(closed_by) = summary.map(|sum| sum.closed_by) {
            // The original's lines, which go with --verbose.
            match closed_by {
                ClosedBy::Client => {
                    tracing::debug!(target: "websockify::session", "{target}: Client closed connection")
                }
                ClosedBy::Target => {
                    tracing::debug!(target: "websockify::session", "{target}: Target closed connection")
                }
                _ => {}
            }
            tracing::debug!(target: "websockify::session", "{target}: Closed target");
        }
        self.totals.sessions -= 1;
        let (to_target, to_client) = summary.map_or((0, 0), |sum| (sum.to_target, sum.to_client));
        self.totals.bytes = self.totals.bytes.saturating_add(to_target).saturating_add(to_client);
        let lasted = connection.since.elapsed();
        let closed_by = summary.map_or(CRASH, |sum| ClosedBy::as_str(sum.closed_by));
        self.ended.add(closed_by, to_target, to_client, lasted.as_secs_f64());
        let subject = connection.subject(self.run, id, session);
        if !session.told {
            session_log::opened(&subject);
        }
        session_log::closed(&subject, summary, lasted);
        Some(connection)
    }
}

impl Connection {
    /// Writes the record of a session's beginning once all is known that it holds.
    fn tell_opened(&mut self, run: Run, id: ConnectionId) {
        if self.request.is_none() {
            return;
        }
        let Some(mut session) = self.session.take() else { return };
        if !session.told {
            session.told = true;
            session_log::opened(&self.subject(run, id, &session));
        }
        self.session = Some(session);
    }

    fn subject<'a>(&'a self, run: Run, id: ConnectionId, session: &'a Session) -> Subject<'a> {
        Subject {
            run,
            id,
            client: &self.client,
            gateway: self.pid,
            target: &session.target,
            request: self.request.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: GatewayId = GatewayId(1);
    const OTHER: GatewayId = GatewayId(2);

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
            let summary =
                SessionSummary { to_target: 1, to_client: 2, closed_by: ClosedBy::Client, close_code: 1000 };
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
        let session =
            SessionSummary { to_target: 1, to_client: 2, closed_by: ClosedBy::Client, close_code: 1000 };
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
        let session =
            SessionSummary { to_target: 1, to_client: 2, closed_by: ClosedBy::Client, close_code: 1000 };
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
        let session =
            SessionSummary { to_target: 3, to_client: 4, closed_by: ClosedBy::Client, close_code: 1000 };
        assert!(connections.ended(Ended { id, session: Some(session) }, GATEWAY));
        assert_eq!(connections.totals(), Totals { sessions: 0, opened: 1, bytes: 7 });
    }
}
