//! An entry of the table: the state of a connection and its data.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use common::ipc::gateway::{ClosedBy, SessionSummary};
use common::ipc::request::Request;
use common::ipc::{ClientAddr, ConnectionId};
use serde::{Deserialize, Serialize};

use super::machine::State;
use super::progress::Progress;
use super::recently_ended::ClientLookup;
use super::register::{Entry as Slot, Register};
use super::totals::{EndedSessions, Totals};
use super::uses::Use;
use crate::os::clock;
use crate::state::session::{Opening, Run};
use crate::state::session_records::{self, CRASH, Subject};
use crate::state::sources::Source;

/// A connection.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    /// Copy of the socket, while [`State::holds_socket`].
    pub(super) socket: Option<OwnedFd>,
    /// Time of the hand-over to a gateway.
    pub(super) since: Instant,
    pub(super) facts: Facts,
}

/// Data of a connection besides its state and its socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    /// The other end.
    pub(super) client: ClientAddr,
    /// The other end is a proxy that the configuration of its generation trusts, and may vouch for clients.
    pub(super) is_proxy: bool,
    /// The listener expects a header of the PROXY protocol from trusted peers.
    pub(super) proxy_header: bool,
    /// The source that the connection counts for, unless no limit applies to it. That of a proxy counts for one of its
    /// clients at a time.
    pub(super) source: Option<Source>,
    /// Whether the source was penalised for the connection, which happens once at most.
    pub(super) has_offended: bool,
    /// Generation of the gateway.
    pub(super) generation: u32,
    /// Process id of the gateway.
    pub(super) pid: i32,
    /// Time at which the connection became unread, on the table's clock.
    pub(super) unread_since: Duration,
    /// Whether the session has a file for its recording.
    pub(super) is_recorded: bool,
    /// Process id of the connector that was given a target for the connection to which only root may connect.
    pub(super) socket_for: Option<i32>,
    /// The target that the connector has claimed, if its sessions are limited.
    pub(super) target: Option<Box<str>>,
    /// The use of a token that the connector has reserved.
    pub(super) held: Option<Box<Use>>,
    /// The client's request, if the gateway has reported it.
    pub(super) request: Option<Box<Request>>,
    pub(super) session: Option<Box<Session>>,
    /// The gateway's summary of the session that has ended.
    pub(super) summary: Option<Box<SessionSummary>>,
    /// Traffic of the session, as last reported by the gateway.
    pub(super) progress: Progress,
}

/// The session of a connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) opening: Opening,
    /// Whether the opening record was written. With a journal, it is delayed until the gateway reports the
    /// request.
    pub(super) is_recorded: bool,
    /// Slot of the session in the register.
    pub(super) slot: Option<u32>,
}

impl Entry {
    /// Whether the session can have made this progress.
    pub(super) fn can_have_done(&self, progress: &Progress) -> bool {
        progress.can_follow(&self.facts.progress, self.since.elapsed())
    }

    /// Creates a connection without a gateway.
    pub(super) fn waiting(
        client: ClientAddr,
        source: Option<Source>,
        proxy_header: bool,
        socket: OwnedFd,
    ) -> Self {
        Self {
            state: State::Waiting { deaths: 0 },
            socket: Some(socket),
            since: Instant::now(),
            facts: Facts { proxy_header, ..Facts::new(client, source) },
        }
    }

    /// Starts the session.
    pub(super) fn open(&mut self, opening: Opening, totals: &mut Totals) {
        self.facts.session = Some(Box::new(Session { opening, is_recorded: false, slot: None }));
        totals.opened += 1;
    }

    /// Writes the opening record as soon as everything it contains is known.
    pub(super) fn record_opening(&mut self, run: Run, id: ConnectionId, register: Option<&mut Register>) {
        if self.facts.request.is_none() {
            return;
        }
        let Some(mut session) = self.facts.session.take() else { return };
        if !session.is_recorded {
            session.is_recorded = true;
            session.slot = register.and_then(|register| register.add(&self.slot(run, id, &session.opening)));
            session_records::opened(&self.facts.subject(run, id, &session));
        }
        self.facts.session = Some(session);
    }

    /// Counts the session as ended, and writes its closing record.
    pub(super) fn close(
        &self,
        run: Run,
        id: ConnectionId,
        register: Option<&mut Register>,
        totals: &mut Totals,
        ended: &mut EndedSessions,
    ) {
        let Some(session) = &self.facts.session else { return };
        let summary = self.facts.summary.as_deref();
        if let Some(summary) = summary {
            log_end(&session.opening.target, summary.closed_by);
            totals.bytes = totals.bytes.saturating_add(summary.to_target).saturating_add(summary.to_client);
        }
        let lasted = self.since.elapsed();
        let closed_by = summary.map_or(CRASH, |sum| ClosedBy::as_str(sum.closed_by));
        ended.add(closed_by, summary, lasted.as_secs_f64());
        let subject = self.facts.subject(run, id, session);
        if !session.is_recorded {
            session_records::opened(&subject);
        }
        session_records::closed(&subject, summary, lasted);
        if let (Some(slot), Some(register)) = (session.slot, register) {
            register.clear(slot);
        }
    }

    fn slot(&self, run: Run, id: ConnectionId, opening: &Opening) -> Slot {
        Slot {
            run,
            id,
            client: self.facts.client.clone(),
            gateway: self.facts.pid,
            opening: opening.clone(),
            since: clock::now().saturating_sub(self.since.elapsed()),
        }
    }
}

impl Facts {
    /// Creates the data of a connection of which only the client is known.
    pub(super) fn new(client: ClientAddr, source: Option<Source>) -> Self {
        Self {
            client,
            is_proxy: false,
            proxy_header: false,
            source,
            has_offended: false,
            generation: 0,
            pid: 0,
            unread_since: Duration::ZERO,
            is_recorded: false,
            socket_for: None,
            target: None,
            held: None,
            request: None,
            session: None,
            summary: None,
            progress: Progress::default(),
        }
    }

    /// The client, which is `vouched` by what a role says. `is_theirs` tells whether the connection is the role's.
    pub(super) fn client(&self, vouched: Option<SocketAddr>, is_theirs: bool) -> ClientLookup {
        ClientLookup::of(&self.client, self.is_proxy, vouched, is_theirs)
    }

    fn subject<'a>(&'a self, run: Run, id: ConnectionId, session: &'a Session) -> Subject<'a> {
        Subject {
            run,
            id,
            peer: &self.client,
            gateway: self.pid,
            opening: &session.opening,
            request: self.request.as_deref(),
        }
    }
}

/// Logs the lines of the original that --verbose shows.
fn log_end(target: &str, closed_by: ClosedBy) {
    match closed_by {
        ClosedBy::Client => {
            tracing::debug!("{target}: Client closed connection");
        }
        ClosedBy::Target => {
            tracing::debug!("{target}: Target closed connection");
        }
        _ => {}
    }
    tracing::debug!("{target}: Closed target");
}
