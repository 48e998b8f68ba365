//! The table of accepted connections: who serves each, and what becomes of it.

mod connection;
mod handed;
mod register;
#[cfg(test)]
mod tests;
mod totals;
mod unserved;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use common::control;
use common::ipc::gateway::{ClosedBy, Ended, SessionSummary};
use common::ipc::request::Request;
use common::ipc::{ClientAddr, ConnectionId, GatewayId};
use common::ticket::SpentBefore;

use crate::state::session_records::{self, CRASH, Run};

pub(crate) use connection::Opening;
use connection::{Connection, Session};
pub(crate) use handed::Handed;
use register::Register;
pub(crate) use totals::{EndedSessions, Totals};
use unserved::Unplaced;
pub(crate) use unserved::{Orphans, Unserved};

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
    /// Connections that no gateway has been given yet.
    unplaced: Rc<RefCell<BTreeSet<ConnectionId>>>,
    /// What names the sessions of this run.
    run: Run,
    /// Tells the next supervisor which sessions were open, if there is a journal.
    register: Option<Register>,
}

impl Connections {
    /// Keeps a register of sessions in a file, and writes the closing records of those that an earlier
    /// supervisor has left there, which was killed.
    pub(crate) fn keep_register(&mut self, file: &Path) {
        let slots = self.open.values().filter_map(|one| one.session.as_ref()?.slot);
        let held: BTreeSet<_> = slots.collect();
        match Register::open(file, |slot| held.contains(&slot)) {
            Ok(register) => self.register = Some(register),
            Err(error) => {
                tracing::warn!("no register {}: {error}", file.display());
            }
        }
    }

    /// A number and our record for a connection that was just accepted.
    pub(crate) fn accept(&mut self, client: ClientAddr, socket: OwnedFd) -> Unserved {
        self.last += 1;
        let id = ConnectionId(self.last);
        Unserved { id, client, socket, tried: 0, unplaced: Unplaced::list(id, &self.unplaced) }
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
        !self.unplaced.borrow().is_empty()
    }

    /// How many connections a gateway has.
    pub(crate) fn load_of(&self, gateway: GatewayId) -> u64 {
        self.open.values().filter(|one| one.gateway == gateway && one.ended.is_none()).count() as u64
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
        let unplaced = Unplaced::list(id, &self.unplaced);
        Some(Unserved { id, client, socket: unbegun?, tried, unplaced })
    }

    /// `gateway` asks for a file to record the connection's session; gives the client, once.
    pub(crate) fn record(&mut self, id: ConnectionId, gateway: GatewayId) -> Option<ClientAddr> {
        let connection = self.of(id, gateway)?;
        let is_first = !std::mem::replace(&mut connection.is_recorded, true);
        is_first.then(|| connection.client.clone())
    }

    /// The connector has given the connection a target.
    pub(crate) fn opened(&mut self, id: ConnectionId, opening: Opening) {
        let Some(connection) = self.open.get_mut(&id) else { return };
        if connection.session.is_none() {
            connection.session = Some(Box::new(Session { opening, told: false, slot: None }));
            self.totals.sessions += 1;
            self.totals.opened += 1;
            connection.tell_opened(self.run, id, self.register.as_mut());
        }
        if let Some(summary) = connection.ended.take() {
            self.close(id, Some(&summary));
        }
    }

    /// The connection becomes a session by `request`; says whether it was one of `gateway`'s that had none.
    pub(crate) fn requested(&mut self, id: ConnectionId, request: Request, gateway: GatewayId) -> bool {
        let is_meant = |one: &&mut Connection| one.gateway == gateway && one.request.is_none();
        let Some(connection) = self.open.get_mut(&id).filter(is_meant) else { return false };
        connection.request = Some(Box::new(request));
        connection.tell_opened(self.run, id, self.register.as_mut());
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

    /// Which tickets a connector that starts now must not take, for one before it may have.
    pub(crate) fn past(&self) -> SpentBefore {
        let open = self.open.iter().filter(|(_, one)| one.session.is_none() && one.ended.is_none());
        let mut fresh: BTreeSet<_> = open.map(|(id, _)| *id).collect();
        fresh.extend(self.unplaced.borrow().iter());
        SpentBefore { last: self.last, fresh }
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
                let unplaced = Unplaced::list(id, &self.unplaced);
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
                session: self.run.session(*id).to_string(),
                client: match &one.client {
                    ClientAddr::Ip(address) => address.to_string(),
                    ClientAddr::Unix(path) => format!("unix:{path}"),
                },
                target: one
                    .session
                    .as_ref()
                    .map(|session| session.opening.target.clone())
                    .unwrap_or_default(),
                seconds: one.since.elapsed().as_secs(),
                generation: one.generation,
                user: one.session.as_ref().and_then(|session| session.opening.user.clone()),
                ..control::Session::default()
            })
            .collect();
        sessions.sort_by_key(|session| session.id);
        sessions
    }

    /// What names the sessions of this run.
    pub(crate) fn run(&self) -> Run {
        self.run
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
        let target = &session.opening.target;
        if let Some(closed_by) = summary.map(|sum| sum.closed_by) {
            // The original's lines, which go with --verbose.
            match closed_by {
                ClosedBy::Client => {
                    tracing::debug!("{target}: Client closed connection")
                }
                ClosedBy::Target => {
                    tracing::debug!("{target}: Target closed connection")
                }
                _ => {}
            }
            tracing::debug!("{target}: Closed target");
        }
        self.totals.sessions -= 1;
        let (to_target, to_client) = summary.map_or((0, 0), |sum| (sum.to_target, sum.to_client));
        self.totals.bytes = self.totals.bytes.saturating_add(to_target).saturating_add(to_client);
        let lasted = connection.since.elapsed();
        let closed_by = summary.map_or(CRASH, |sum| ClosedBy::as_str(sum.closed_by));
        self.ended.add(closed_by, summary, lasted.as_secs_f64());
        let subject = connection.subject(self.run, id, session);
        if !session.told {
            session_records::opened(&subject);
        }
        session_records::closed(&subject, summary, lasted);
        if let (Some(slot), Some(register)) = (session.slot, &mut self.register) {
            register.clear(slot);
        }
        Some(connection)
    }
}
