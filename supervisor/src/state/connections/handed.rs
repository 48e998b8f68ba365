//! What one image of the supervisor hands on to the next.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};

use common::ipc::gateway::SessionSummary;
use common::ipc::request::Request;
use common::ipc::{ClientAddr, ConnectionId, GatewayId};
use serde::{Deserialize, Serialize};

use super::Connections;
use super::connection::{Connection, Session};
use super::totals::{EndedSessions, Totals};
use crate::state::session_records::Run;

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

impl Connections {
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
}
