//! One connection, and the session that it may become.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use common::ipc::gateway::SessionSummary;
use common::ipc::request::Request;
use common::ipc::{ClientAddr, ConnectionId, GatewayId};
use serde::{Deserialize, Serialize};

use super::register::{self, Entry, Register};
use crate::state::session_records::{self, Run, Subject};

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: ClientAddr,
    pub(super) since: Instant,
    /// The generation of the gateway.
    pub(super) generation: u32,
    pub(super) gateway: GatewayId,
    /// The gateway's process.
    pub(super) pid: i32,
    /// Its connector has died, and what that has not said about it will never be said.
    pub(super) connector_died: bool,
    /// Our copy of its socket, until the gateway has begun to read from it.
    pub(super) unbegun: Option<OwnedFd>,
    /// How many gateways it was given to before.
    pub(super) tried: u8,
    /// By what request it becomes a session, if its gateway says so.
    pub(super) request: Option<Box<Request>>,
    pub(super) session: Option<Box<Session>>,
    /// It has a file for its recording.
    pub(super) is_recorded: bool,
    /// Its gateway says that its session has ended, and the connector's word that it began, which comes
    /// another way, is still to come.
    pub(super) ended: Option<SessionSummary>,
}

/// What the connector and the configuration say about a session that begins.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Opening {
    /// Its target.
    pub(crate) target: String,
    /// Who the client has proved to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// What it had to prove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) auth_method: Option<String>,
    /// What stands for its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// How long it took to reach the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connect: Option<Duration>,
}

impl From<&str> for Opening {
    /// One of which nothing else is known.
    fn from(target: &str) -> Self {
        Self { target: target.into(), ..Self::default() }
    }
}

/// A connection that has a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Session {
    #[serde(flatten)]
    pub(super) opening: Opening,
    /// The record of its beginning is written. With a journal that waits for the gateway's word.
    #[serde(default)]
    pub(super) told: bool,
    /// Where the register has it.
    #[serde(default)]
    pub(super) slot: Option<u32>,
}

impl Connection {
    /// It has a target, and has not ended.
    pub(super) fn is_session(&self) -> bool {
        self.session.is_some() && self.ended.is_none()
    }

    /// Writes the record of a session's beginning once all is known that it holds.
    pub(super) fn tell_opened(&mut self, run: Run, id: ConnectionId, register: Option<&mut Register>) {
        if self.request.is_none() {
            return;
        }
        let Some(mut session) = self.session.take() else { return };
        if !session.told {
            session.told = true;
            session.slot = register.and_then(|register| register.add(&self.entry(run, id, &session.opening)));
            session_records::opened(&self.subject(run, id, &session));
        }
        self.session = Some(session);
    }

    fn entry(&self, run: Run, id: ConnectionId, opening: &Opening) -> Entry {
        Entry {
            run,
            id,
            client: self.client.clone(),
            gateway: self.pid,
            opening: opening.clone(),
            since: register::now().saturating_sub(self.since.elapsed()),
        }
    }

    /// What its records are about.
    pub(super) fn subject<'a>(&'a self, run: Run, id: ConnectionId, session: &'a Session) -> Subject<'a> {
        Subject {
            run,
            id,
            client: &self.client,
            gateway: self.pid,
            opening: &session.opening,
            request: self.request.as_deref(),
        }
    }
}
