//! The table of connections: their gateways and states. [`machine`] decides; the table stores the data,
//! counts, writes session records, and returns the remaining work as a [`Todo`].

mod barred;
mod entry;
mod list;
mod machine;
mod overtime;
mod progress;
mod recently_ended;
mod register;
mod reservations;
mod revocations;
#[cfg(test)]
mod search;
mod shares;
mod snapshot;
mod targets;
#[cfg(test)]
mod tests;
mod totals;
mod uses;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use common::ipc::gateway::{Count, Ended, SessionSummary};
use common::ipc::request::Request;
use common::ipc::{ClientAddr, ConnectionId, GatewayId};
use common::networks::Networks;
use common::ticket::SpentBefore;

use crate::os::clock;
use crate::state::session::{Opening, Run};
use crate::state::sources::{Source, Sources};
use barred::Barred;
pub(crate) use barred::MAX_BARRED;
use entry::{Entry, Facts};
use machine::{Event, GatewayReport, State, step};
use overtime::Overtime;
use progress::Progress;
pub(crate) use recently_ended::ClientLookup;
use recently_ended::RecentlyEnded;
use register::Register;
pub(crate) use snapshot::Snapshot;
use targets::Targets;
pub(crate) use totals::{EndedSessions, Totals};
use uses::Uses;

/// Placeholder for the target of a session whose connector died before it reported the target.
const UNKNOWN: &str = "unknown";

/// All connections, from accept(2) to their end.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    entries: HashMap<ConnectionId, Entry>,
    /// Number of the last connection.
    last: u64,
    /// The run that numbers the sessions.
    run: Run,
    totals: Totals,
    ended: EndedSessions,
    /// Number of connections of each gateway, including those that are being sent to it and those that are
    /// not settled.
    loads: HashMap<GatewayId, u64>,
    /// Connections without a gateway.
    waiting: usize,
    /// Connections that no gateway has begun to read, with the time since when.
    unread: BTreeSet<(Duration, ConnectionId)>,
    /// Advanced by [`Self::overdue`], so that time in which the supervisor is stopped does not count.
    clock: Duration,
    /// For each generation with a connector, the connections that it must still be asked to settle.
    to_forget: BTreeMap<u32, Vec<ConnectionId>>,
    /// Sessions that must end by a certain time.
    overtime: Overtime,
    /// How often tokens are used.
    uses: Uses,
    /// Sessions of each target.
    targets: Targets,
    /// Tokens that were revoked.
    barred: Barred,
    /// Connections that have ended recently.
    recently_ended: RecentlyEnded,
    /// What counts for each source of connections.
    sources: Sources,
    /// Number of connections for which there are places, in the configuration in force.
    places: u64,
    /// Journal of open sessions for the next supervisor, if there is one.
    register: Option<Register>,
}

/// The consequences of an event for the owners of gateways and connectors.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Todo {
    /// Connections to hand to gateways, each with its previous gateway, if any.
    pub(crate) offers: Vec<(ConnectionId, Option<GatewayId>)>,
    /// Gateways that have broken protocol, each with the connection concerned.
    pub(crate) violations: Vec<(GatewayId, ConnectionId)>,
    /// Gateways that hang.
    pub(crate) hung: Vec<GatewayId>,
    /// Gateways that have one connection less.
    pub(crate) freed: Vec<GatewayId>,
    /// Whether a connector has connections to settle ([`Connections::to_forget`]).
    pub(crate) settle: bool,
}

impl Todo {
    /// Adds the consequences of another event.
    pub(crate) fn and(&mut self, other: Self) {
        self.offers.extend(other.offers);
        self.violations.extend(other.violations);
        self.hung.extend(other.hung);
        self.freed.extend(other.freed);
        self.settle |= other.settle;
    }

    /// The connection about which this gateway has broken protocol, if any.
    pub(crate) fn violation_of(&self, gateway: GatewayId) -> Option<ConnectionId> {
        self.violations.iter().find(|(by, _)| *by == gateway).map(|(_, id)| *id)
    }
}

/// Whether a connector may have a target for a connection that only root may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketClaim {
    /// The connector may have it.
    Good,
    /// The connection has left its gateway meanwhile, or already has a target.
    Over,
    /// A violation: the connection belongs to another connector, or the connector has already claimed a target for it.
    Wrong,
}

/// A connection that is being sent to a gateway.
#[derive(Debug)]
pub(crate) struct Offered {
    /// The other end.
    pub(crate) client: ClientAddr,
    /// The other end is trusted, and begins with a header of the PROXY protocol.
    pub(crate) proxy_header: bool,
    /// The socket, which must be returned.
    pub(crate) socket: OwnedFd,
}

/// Data that accompanies an event.
#[derive(Debug, Default)]
struct Details {
    opening: Option<Opening>,
    summary: Option<SessionSummary>,
}

impl Connections {
    /// Stores open sessions in a file, and writes the closing records of the sessions that a killed
    /// supervisor has left there.
    pub(crate) fn keep_register(&mut self, file: &Path) {
        let slots = self.entries.values().filter_map(|one| one.facts.session.as_ref()?.slot);
        let held: BTreeSet<_> = slots.collect();
        match Register::open(file, |slot| held.contains(&slot)) {
            Ok(register) => self.register = Some(register),
            Err(error) => {
                tracing::warn!("no register {}: {error}", file.display());
            }
        }
    }

    /// Tells for how many connections there are places from now on.
    pub(crate) fn set_places(&mut self, places: u64) {
        self.places = places;
    }

    /// Adds a connection that was just accepted; returns its number. With `proxy_header` its listener expects a
    /// header of the PROXY protocol from trusted peers.
    pub(crate) fn accept(
        &mut self,
        client: ClientAddr,
        source: Option<Source>,
        proxy_header: bool,
        socket: OwnedFd,
    ) -> ConnectionId {
        self.insert_waiting(Entry::waiting(client, source, proxy_header, socket))
    }

    /// Begins to send a waiting connection to `gateway`, process `pid` of `generation`, which believes the
    /// proxies of the networks `trusted`. Returns what the gateway is sent, with the socket, which must be returned with [`Self::delivered`] or [`Self::undelivered`].
    pub(crate) fn offer(
        &mut self,
        id: ConnectionId,
        generation: u32,
        gateway: GatewayId,
        pid: i32,
        trusted: &Networks,
    ) -> Option<Offered> {
        let entry = self.entries.get_mut(&id)?;
        let socket = entry.socket.take()?;
        (entry.facts.generation, entry.facts.pid) = (generation, pid);
        entry.facts.is_proxy = entry.facts.client.is_in(trusted);
        let client = entry.facts.client.clone();
        let proxy_header = entry.facts.proxy_header && entry.facts.is_proxy;
        // The event has no further consequences.
        let _ = self.apply(id, Event::Offered(gateway), Details::default());
        Some(Offered { client, proxy_header, socket })
    }

    /// The connection was sent to the gateway.
    pub(crate) fn delivered(&mut self, id: ConnectionId, socket: OwnedFd) -> Todo {
        let clock = self.clock;
        if let Some(entry) = self.entries.get_mut(&id) {
            (entry.socket, entry.since, entry.facts.unread_since) = (Some(socket), Instant::now(), clock);
        }
        self.apply(id, Event::Delivered, Details::default())
    }

    /// The connection could not be sent to the gateway, and waits for another.
    pub(crate) fn undelivered(&mut self, id: ConnectionId, socket: OwnedFd) -> Todo {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.socket = Some(socket);
        }
        self.apply(id, Event::Undelivered, Details::default())
    }

    /// The connection can't be sent to any gateway and is dropped.
    pub(crate) fn abandon(&mut self, id: ConnectionId) -> Todo {
        self.apply(id, Event::Abandoned, Details::default())
    }

    /// `gateway` is about to read from the connection: closes our copy of its socket, which would hide the
    /// end of the stream from the client.
    pub(crate) fn acknowledged(&mut self, id: ConnectionId, gateway: GatewayId) {
        // The event has no further consequences.
        let _ = self.apply(id, Event::Reported(gateway, GatewayReport::Acknowledged), Details::default());
    }

    /// `gateway` could not receive the socket.
    pub(crate) fn lost(&mut self, id: ConnectionId, gateway: GatewayId) -> Todo {
        self.reported(id, gateway, GatewayReport::Lost, Details::default())
    }

    /// `gateway` reports the end of a connection.
    pub(crate) fn ended(&mut self, ended: Ended, gateway: GatewayId) -> Todo {
        let entry = self.entries.get(&ended.id);
        let can_be = |entry: &Entry| {
            ended.session.as_ref().is_none_or(|session| entry.can_have_done(&Progress::from(session)))
                && (ended.vouched.is_none() || entry.facts.is_proxy)
        };
        if !entry.is_none_or(can_be) {
            return Todo { violations: vec![(gateway, ended.id)], ..Todo::default() };
        }
        if let Some(offence) = ended.offence() {
            self.gateway_reports(ended.id, offence, ended.vouched, gateway);
        }
        let report = GatewayReport::Ended { session: ended.session.is_some() };
        self.reported(ended.id, gateway, report, Details { summary: ended.session, ..Details::default() })
    }

    /// `gateway` requests a file to record the session of the connection, whose client is `vouched`. Returns the
    /// client, or `None` if the gateway may not request it.
    pub(crate) fn record(
        &mut self,
        id: ConnectionId,
        vouched: Option<SocketAddr>,
        gateway: GatewayId,
    ) -> Option<ClientAddr> {
        let entry = self.detailed(id, gateway)?;
        let is_first = !std::mem::replace(&mut entry.facts.is_recorded, true);
        match entry.facts.client(vouched, is_first) {
            ClientLookup::Client(client) => Some(client),
            ClientLookup::Unknown | ClientLookup::Foreign => None,
        }
    }

    /// `gateway` reports the request of a connection that becomes a session; returns whether the report is
    /// allowed.
    pub(crate) fn requested(&mut self, id: ConnectionId, request: Request, gateway: GatewayId) -> bool {
        let run = self.run;
        let Some(entry) = self.detailed(id, gateway).filter(|entry| entry.facts.request.is_none()) else {
            return false;
        };
        entry.facts.request = Some(Box::new(request));
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.record_opening(run, id, self.register.as_mut());
        }
        true
    }

    /// `gateway` reports the progress of a session; returns whether the report is possible.
    pub(crate) fn counted(&mut self, count: &Count, gateway: GatewayId) -> bool {
        let Some(entry) = self.entries.get_mut(&count.id) else { return false };
        let progress = Progress::from(count);
        if entry.state.gateway() != Some(gateway) || !entry.can_have_done(&progress) {
            return false;
        }
        entry.facts.progress = progress;
        true
    }

    /// The connector of `generation` has given the connection a target.
    pub(crate) fn dialled(&mut self, id: ConnectionId, generation: u32, opening: Opening) -> Todo {
        if !self.is_of(id, generation) {
            return Todo::default();
        }
        self.apply(id, Event::Dialled, Details { opening: Some(opening), ..Details::default() })
    }

    /// The session of a connection must end within `time`. Does nothing if there is no session.
    pub(crate) fn limit(&mut self, id: ConnectionId, time: Duration) {
        if self.gateway_of_session(id).is_some() {
            self.overtime.limit(id, time);
        }
    }

    /// Whether any session must end by a certain time.
    pub(crate) fn any_limited(&self) -> bool {
        self.overtime.is_needed()
    }

    /// Advances the clock of limited sessions by `time`, and returns those that should have ended, with their gateways.
    pub(crate) fn overtime(&mut self, time: Duration) -> Vec<(ConnectionId, GatewayId)> {
        let gateway = |id| self.entries.get(&id).filter(|one| one.state.is_session())?.state.gateway();
        let past = self.overtime.advance(time, |id| gateway(id).is_some());
        past.into_iter().filter_map(|id| Some((id, gateway(id)?))).collect()
    }

    /// The connector of `generation` confirms that it gives these connections no target from now on, and that
    /// it has reported everything about them.
    pub(crate) fn settled(&mut self, ids: &[ConnectionId], generation: u32) -> Todo {
        let mut todo = Todo::default();
        for id in ids {
            if self.is_of(*id, generation) {
                todo.and(self.apply(*id, Event::Settled, Details::default()));
            }
        }
        todo
    }

    /// A connector of `generation` starts. Returns the tickets that it must reject, because an earlier
    /// connector may have accepted them.
    pub(crate) fn connector_starts(&mut self, generation: u32) -> SpentBefore {
        self.to_forget.entry(generation).or_default();
        let open = self.entries.iter().filter(|(_, one)| one.state.may_have_target());
        SpentBefore { last: self.last, fresh: open.map(|(id, _)| *id).collect() }
    }

    /// The connector of `generation` has died, and all of its reports were processed.
    pub(crate) fn connector_gone(&mut self, generation: u32) -> Todo {
        self.to_forget.remove(&generation);
        self.apply_to_all(Event::ConnectorDied, |entry| entry.facts.generation == generation)
    }

    /// A gateway has died, and all of its acknowledgements were processed.
    pub(crate) fn gateway_gone(&mut self, gateway: GatewayId) -> Todo {
        self.apply_to_all(Event::GatewayDied(gateway), |entry| entry.state.gateway() == Some(gateway))
    }

    /// The client of a connection that `gateway` refers to, which is `vouched` by what the gateway says.
    pub(crate) fn client_of_gateway(
        &self,
        id: ConnectionId,
        vouched: Option<SocketAddr>,
        gateway: GatewayId,
    ) -> ClientLookup {
        match self.entries.get(&id) {
            Some(entry) => entry.facts.client(vouched, entry.state.gateway() == Some(gateway)),
            None => self.recently_ended.client(id, vouched, |ended| ended.gateway == Some(gateway)),
        }
    }

    /// The client of a connection that the connector of `generation` refers to, which is `vouched` by what the
    /// connector says.
    pub(crate) fn client_of_generation(
        &self,
        id: ConnectionId,
        vouched: Option<SocketAddr>,
        generation: u32,
    ) -> ClientLookup {
        match self.entries.get(&id) {
            Some(entry) => entry.facts.client(vouched, entry.facts.generation == generation),
            None => self.recently_ended.client(id, vouched, |ended| ended.generation == generation),
        }
    }

    /// Whether the connector of `generation`, process `pid`, may have a target for the connection that only root may
    /// connect to.
    pub(crate) fn socket_claim(&self, id: ConnectionId, generation: u32, pid: i32) -> SocketClaim {
        match (self.client_of_generation(id, None, generation), self.entries.get(&id)) {
            (ClientLookup::Foreign, _) => SocketClaim::Wrong,
            (ClientLookup::Unknown, _) if id.0 > self.last => SocketClaim::Wrong,
            (_, Some(entry)) if entry.facts.socket_for == Some(pid) => SocketClaim::Wrong,
            (ClientLookup::Client(_), Some(entry)) if entry.state.may_have_target() => SocketClaim::Good,
            _ => SocketClaim::Over,
        }
    }

    /// Like [`Self::socket_claim`], and records the claim.
    pub(crate) fn claim_socket(&mut self, id: ConnectionId, generation: u32, pid: i32) -> SocketClaim {
        let claim = self.socket_claim(id, generation, pid);
        if let Some(entry) = self.entries.get_mut(&id).filter(|_| claim == SocketClaim::Good) {
            entry.facts.socket_for = Some(pid);
        }
        claim
    }

    /// The oldest of the connections that the connector of `generation` has to settle.
    pub(crate) fn to_forget(&self, generation: u32, most: usize) -> Vec<ConnectionId> {
        self.to_forget.get(&generation).into_iter().flatten().take(most).copied().collect()
    }

    /// The connector was asked to settle the first `count` of them.
    pub(crate) fn asked_to_forget(&mut self, generation: u32, count: usize) {
        if let Some(ids) = self.to_forget.get_mut(&generation) {
            ids.drain(..count.min(ids.len()));
        }
    }

    /// Advances the clock by `time`, and reports gateways that have left a connection unread for longer than
    /// `limit` allows for its generation.
    pub(crate) fn overdue(&mut self, time: Duration, limit: impl Fn(u32) -> Duration) -> Todo {
        self.clock += time;
        let is_overdue = |since: Duration, id: &ConnectionId| {
            let entry = self.entries.get(id);
            entry.is_some_and(|entry| self.clock.saturating_sub(since) > limit(entry.facts.generation))
        };
        let overdue = self.unread.iter().filter(|(since, id)| is_overdue(*since, id));
        let ids: Vec<_> = overdue.map(|(_, id)| *id).collect();
        let mut todo = Todo::default();
        for id in ids {
            todo.and(self.apply(id, Event::Overdue, Details::default()));
        }
        todo
    }

    /// The entry of a connection about which `gateway` reports a detail, if that is allowed.
    fn detailed(&mut self, id: ConnectionId, gateway: GatewayId) -> Option<&mut Entry> {
        let todo = self.reported(id, gateway, GatewayReport::Detail, Details::default());
        if todo.violations.is_empty() { self.entries.get_mut(&id) } else { None }
    }

    /// Applies a report of `gateway` about a connection; a report about an unknown connection is a violation.
    fn reported(&mut self, id: ConnectionId, by: GatewayId, report: GatewayReport, details: Details) -> Todo {
        if !self.entries.contains_key(&id) {
            return Todo { violations: vec![(by, id)], ..Todo::default() };
        }
        self.apply(id, Event::Reported(by, report), details)
    }

    fn is_of(&self, id: ConnectionId, generation: u32) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.facts.generation == generation)
    }

    fn apply_to_all(&mut self, event: Event, which: impl Fn(&Entry) -> bool) -> Todo {
        let ids: Vec<_> = self.entries.iter().filter(|(_, one)| which(one)).map(|(id, _)| *id).collect();
        let mut todo = Todo::default();
        for id in ids {
            todo.and(self.apply(id, event, Details::default()));
        }
        todo
    }

    /// Applies an event to a connection, if it exists.
    fn apply(&mut self, id: ConnectionId, event: Event, details: Details) -> Todo {
        let Some(mut entry) = self.entries.remove(&id) else { return Todo::default() };
        let mut todo = Todo::default();
        let before = entry.state;
        let (after, effects) = step(before, event);
        entry.state = after;
        // A connection that is offered again is counted under its new number.
        self.count(id, &entry, Some(before), Some(after).filter(|_| !effects.offer));
        if !after.holds_socket() {
            entry.socket = None;
        }
        if before.gateway() != after.gateway() {
            todo.freed.extend(before.gateway());
        }
        todo.violations.extend(effects.violation.map(|gateway| (gateway, id)));
        todo.hung.extend(effects.hangs);
        if effects.violation.is_none() && details.summary.is_some() {
            entry.facts.summary = details.summary.map(Box::new);
        }
        if effects.open {
            entry.open(details.opening.unwrap_or_else(|| UNKNOWN.into()), &mut self.totals);
            entry.record_opening(self.run, id, self.register.as_mut());
        }
        if effects.close {
            let (totals, ended) = (&mut self.totals, &mut self.ended);
            entry.close(self.run, id, self.register.as_mut(), totals, ended);
        }
        if effects.offer || after == State::Over {
            if let Some(target) = entry.facts.target.take() {
                self.targets.release(&target);
            }
            match entry.facts.held.take() {
                Some(held) if effects.close => {
                    self.uses.ended(*held, entry.facts.summary.as_deref(), clock::now());
                }
                Some(held) => self.uses.release(*held),
                None => {}
            }
        }
        let generation = entry.facts.generation;
        if effects.offer || after == State::Over {
            self.recently_ended.add(id, before.gateway(), &entry.facts);
        }
        if effects.offer {
            let proxy_header = entry.facts.proxy_header;
            // Which client a proxy has vouched for is found out again.
            let source = entry.facts.source.filter(|_| !entry.facts.is_proxy);
            entry.facts = Facts { proxy_header, ..Facts::new(entry.facts.client, source) };
            todo.offers.push((self.insert_waiting(entry), before.gateway()));
        } else if after != State::Over {
            self.entries.insert(id, entry);
        }
        if effects.settle {
            match self.to_forget.get_mut(&generation) {
                Some(ids) => {
                    ids.push(id);
                    todo.settle = true;
                }
                // It will never get a target, and a connector that may have given it one has died.
                None => todo.and(self.apply(id, Event::Settled, Details::default())),
            }
        }
        todo
    }

    /// Adds a waiting connection under a new number.
    fn insert_waiting(&mut self, entry: Entry) -> ConnectionId {
        self.last += 1;
        let id = ConnectionId(self.last);
        self.count(id, &entry, None, Some(entry.state));
        self.entries.insert(id, entry);
        id
    }

    /// Updates the counts when the state of a connection changes.
    fn count(&mut self, id: ConnectionId, entry: &Entry, before: Option<State>, after: Option<State>) {
        self.count_for_source(entry, before, after);
        for (state, comes) in [(before, false), (after, true)] {
            let Some(state) = state else { continue };
            let change = |count: u64| if comes { count + 1 } else { count - 1 };
            if let Some(gateway) = state.gateway() {
                let load = self.loads.entry(gateway).or_default();
                *load = change(*load);
                if *load == 0 {
                    self.loads.remove(&gateway);
                }
            }
            if state.is_session() {
                self.totals.sessions = change(self.totals.sessions);
            }
            let key = (entry.facts.unread_since, id);
            match (state.is_waiting(), state.is_unread(), comes) {
                (true, _, true) => self.waiting += 1,
                (true, _, false) => self.waiting -= 1,
                (_, true, true) => _ = self.unread.insert(key),
                (_, true, false) => _ = self.unread.remove(&key),
                _ => {}
            }
        }
    }
}
