//! The table as an upgrade hands it to the next image of the supervisor.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};

use common::ipc::ConnectionId;
use serde::{Deserialize, Serialize};

use super::barred::Barred;
use super::entry::{Entry, Facts};
use super::machine::State;
use super::overtime::Overtime;
use super::totals::{EndedSessions, Totals};
use super::uses::Uses;
use super::{Connections, Todo};
use crate::state::session::Run;
use crate::state::sources;

/// The whole table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    run: Run,
    last: u64,
    totals: Totals,
    ended: EndedSessions,
    clock: Duration,
    to_forget: BTreeMap<u32, Vec<ConnectionId>>,
    overtime: Overtime,
    uses: Uses,
    barred: Barred,
    sources: sources::Snapshot,
    pub(super) entries: Vec<SnapshotEntry>,
}

/// A connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SnapshotEntry {
    pub(super) id: ConnectionId,
    pub(super) state: State,
    socket: Option<RawFd>,
    age: Duration,
    facts: Facts,
}

impl Connections {
    /// The table for the next image. `pass` gives the numbers of the socket copies in that image.
    ///
    /// # Errors
    ///
    /// The error of `pass`.
    pub(crate) fn snapshot(
        &self,
        mut pass: impl FnMut(&OwnedFd) -> io::Result<RawFd>,
    ) -> io::Result<Snapshot> {
        let mut entries = Vec::with_capacity(self.entries.len());
        for (id, entry) in &self.entries {
            entries.push(SnapshotEntry {
                id: *id,
                state: entry.state,
                socket: entry.socket.as_ref().map(&mut pass).transpose()?,
                age: entry.since.elapsed(),
                facts: entry.facts.clone(),
            });
        }
        Ok(Snapshot {
            run: self.run,
            last: self.last,
            totals: self.totals,
            ended: self.ended.clone(),
            clock: self.clock,
            to_forget: self.to_forget.clone(),
            overtime: self.overtime.clone(),
            uses: self.uses.clone(),
            barred: self.barred.clone(),
            sources: self.sources.snapshot(),
            entries,
        })
    }

    /// Restores the table of an earlier image. `take` gives the sockets by their numbers.
    pub(crate) fn adopt(
        &mut self,
        snapshot: Snapshot,
        mut take: impl FnMut(RawFd) -> Option<OwnedFd>,
    ) -> Todo {
        let Snapshot { run, last, totals, ended, clock, to_forget, overtime, uses, barred, sources, entries } =
            snapshot;
        (self.run, self.last, self.ended) = (run, last, ended);
        (self.clock, self.to_forget, self.overtime) = (clock, to_forget, overtime);
        (self.uses, self.barred) = (uses, barred);
        self.sources.adopt(sources);
        // Open sessions are counted below.
        self.totals = Totals { sessions: 0, ..totals };
        let now = Instant::now();
        let mut todo = Todo { settle: self.to_forget.values().any(|ids| !ids.is_empty()), ..Todo::default() };
        for SnapshotEntry { id, state, socket, age, facts } in entries {
            let socket = socket.and_then(&mut take);
            if state.holds_socket() && socket.is_none() {
                tracing::error!("connection {id} has lost its socket");
                continue;
            }
            let entry = Entry { state, socket, since: now.checked_sub(age).unwrap_or(now), facts };
            self.count(id, &entry, None, Some(state));
            self.entries.insert(id, entry);
            if matches!(state, State::Waiting { .. }) {
                todo.offers.push((id, None));
            }
        }
        todo
    }
}
