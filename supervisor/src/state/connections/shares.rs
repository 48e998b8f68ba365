//! What connections count for their sources, and what roles report of clients. A connection of a trusted proxy counts for
//! the client for which the proxy vouches, from the connector's question about it on.
//!
//! A role can have a source penalised only for a connection that it has, and once for each.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;

use common::ipc::connector::Offender;
use common::ipc::offence::Offence;
use common::ipc::sources::SourceVerdict;
use common::ipc::{ClientAddr, ConnectionId, GatewayId};

use super::Connections;
use super::entry::Entry;
use super::machine::State;
use crate::os::clock::now;
use crate::os::log::message_id;
use crate::state::sources::{Arrival, Line, Place, Places, Reason, Source, Sources};

/// A connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TurnedAway;

impl Connections {
    /// Decides whether a client that has connected is served. Returns the source that its connection counts for. `uid`
    /// gives the user of a client of a unix socket.
    ///
    /// # Errors
    ///
    /// The connection is to be closed.
    pub(crate) fn arrives(
        &mut self,
        client: &ClientAddr,
        uid: impl FnOnce() -> Option<u32>,
    ) -> Result<Option<Source>, TurnedAway> {
        let Some(source) = self.sources.source_of(client, uid) else { return Ok(None) };
        self.note_places();
        self.sources.arrives(source, Arrival::Any, now(), chance).map_err(|objection| {
            objection.line.iter().for_each(write);
            TurnedAway
        })?;
        Ok(Some(source))
    }

    /// The connector of `generation` asks whether `client`, for which the proxy at the other end of a connection vouches,
    /// is served with a session or a page. Returns `None` if it can't ask this.
    pub(crate) fn check_source(
        &mut self,
        id: ConnectionId,
        generation: u32,
        client: SocketAddr,
        page: bool,
    ) -> Option<SourceVerdict> {
        self.note_places();
        let entry = match self.entries.get_mut(&id) {
            None if id.0 > self.last => return None,
            Some(entry) if entry.facts.generation != generation || !entry.facts.is_proxy => return None,
            Some(entry) if entry.state.may_have_target() => entry,
            _ => return Some(SourceVerdict::Over),
        };
        let source = self.sources.source_of(&ClientAddr::Ip(client), || None);
        if entry.facts.source == source {
            return Some(SourceVerdict::Served);
        }
        let now = now();
        // The proxy may use its connection for one client after the other.
        if let Some(earlier) = entry.facts.source.take() {
            self.sources.moved(earlier, Some(Place::Pending), None, now);
        }
        let Some(source) = source else { return Some(SourceVerdict::Served) };
        let arrival = if page { Arrival::Page } else { Arrival::Any };
        Some(match self.sources.arrives(source, arrival, now, chance) {
            Ok(()) => {
                entry.facts.source = Some(source);
                self.sources.moved(source, None, Some(Place::Pending), now);
                SourceVerdict::Served
            }
            Err(objection) => {
                objection.line.iter().for_each(write);
                let seconds = objection.retry_after.as_millis().div_ceil(1000);
                SourceVerdict::TurnedAway { retry_after: seconds.try_into().unwrap_or(u32::MAX) }
            }
        })
    }

    /// The connector of `generation` has let a client have a page, for which the proxy at the other end of a connection
    /// vouches. The proxy may keep the connection for another client.
    pub(crate) fn page_served(&mut self, id: ConnectionId, generation: u32) {
        let entry = self.entries.get_mut(&id);
        let is_meant = |one: &&mut Entry| {
            one.facts.generation == generation && one.facts.is_proxy && !one.state.is_session()
        };
        if let Some(source) = entry.filter(is_meant).and_then(|entry| entry.facts.source.take()) {
            self.sources.moved(source, Some(Place::Pending), None, now());
        }
    }

    /// The connector of `generation` reports offences of the clients of its connections.
    pub(crate) fn connector_reports(&mut self, offenders: &[Offender], generation: u32) {
        for Offender { id, offence } in offenders {
            if self.is_of(*id, generation) {
                self.offended(*id, *offence, None);
            }
        }
    }

    /// A gateway reports an offence of the client of its connection, which is `vouched` by what the gateway says.
    pub(super) fn gateway_reports(
        &mut self,
        id: ConnectionId,
        offence: Offence,
        vouched: Option<SocketAddr>,
        gateway: GatewayId,
    ) {
        let is_own = self.entries.get(&id).is_some_and(|entry| entry.state.gateway() == Some(gateway));
        if is_own {
            self.offended(id, offence, vouched);
        }
    }

    /// A gateway has crashed, and is not reported as gone yet. The sources whose requests it was reading are penalised
    /// together, or else those of its sessions.
    pub(crate) fn gateway_crashed(&mut self, gateway: GatewayId) {
        let sources = |is_meant: fn(State) -> bool| -> BTreeSet<Source> {
            let meant = self
                .entries
                .values()
                .filter(|entry| entry.state.gateway() == Some(gateway) && is_meant(entry.state));
            meant.filter_map(|entry| entry.facts.source).collect()
        };
        let mut answerable = sources(|state| matches!(state, State::Reading { .. }));
        if answerable.is_empty() {
            answerable = sources(State::is_session);
        }
        let sharers = u32::try_from(answerable.len()).unwrap_or(u32::MAX);
        for source in answerable {
            let line = self.sources.offends(source, Offence::Crash, sharers, now());
            line.iter().for_each(write);
        }
    }

    /// The first byte of an unread connection begins a TLS handshake, as its gateway says.
    pub(crate) fn begins_tls(&mut self, id: ConnectionId, gateway: GatewayId) {
        let entry = self.entries.get(&id);
        let is_unread = |entry: &&Entry| entry.state.is_unread() && entry.state.gateway() == Some(gateway);
        if let Some(source) = entry.filter(is_unread).and_then(|entry| entry.facts.source) {
            self.sources.begins_tls(source, now());
        }
    }

    /// Limits, penalties and counts of sources.
    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Limits, penalties and counts of sources, to change them.
    pub(crate) fn sources_mut(&mut self) -> &mut Sources {
        &mut self.sources
    }

    /// Counts a change of a connection for its source.
    pub(super) fn count_for_source(&mut self, entry: &Entry, before: Option<State>, after: Option<State>) {
        let Some(source) = entry.facts.source else { return };
        let place = |state: State| match state {
            State::Over => None,
            State::Open { .. } => Some(Place::Session),
            _ => Some(Place::Pending),
        };
        let (before, after) = (before.and_then(place), after.and_then(place));
        if before != after {
            self.sources.moved(source, before, after, now());
        }
    }

    /// Tells the sources how many places there are.
    fn note_places(&mut self) {
        let taken = self.load();
        self.sources.note_places(Places { all: self.places, taken });
    }

    /// Penalises the source of the client of a connection, which may be `vouched`.
    fn offended(&mut self, id: ConnectionId, offence: Offence, vouched: Option<SocketAddr>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let source = match vouched {
            Some(client) => self.sources.source_of(&ClientAddr::Ip(client), || None),
            None => entry.facts.source,
        };
        let Some(source) = source else { return };
        if !std::mem::replace(&mut entry.facts.has_offended, true) {
            let line = self.sources.offends(source, offence, 1, now());
            line.iter().for_each(write);
        }
    }
}

/// Logs a line about a source.
fn write(line: &Line) {
    let message_id = match line.reason {
        Reason::Penalty => message_id::SOURCE_BANNED,
        _ => message_id::SOURCE_LIMITED,
    };
    tracing::warn!(message_id, websockify_client = %line.source, "{line}");
}

/// A random number from 0 to below 1.
fn chance() -> f64 {
    // The standard library seeds this from random bytes of the kernel.
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1_u64 << 53) as f64
}
