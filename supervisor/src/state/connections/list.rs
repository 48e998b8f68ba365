//! Queries of the table.

use std::net::SocketAddr;
use std::time::Duration;

use common::control;
use common::ipc::{ClientAddr, ConnectionId, GatewayId};
use common::tokens::policy::Ongoing;

use super::Connections;
use super::totals::{EndedSessions, Totals};
use crate::state::session::Run;

impl Connections {
    /// Whether there is no connection.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the connection exists and has no session yet.
    pub(crate) fn awaits_target(&self, id: ConnectionId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.facts.session.is_none())
    }

    /// Whether an operation of a role for this connection can have taken this long: not longer than the time
    /// since the connection was handed over, with a tolerance for the times at which clocks were read.
    pub(crate) fn can_have_taken(&self, id: ConnectionId, time: Duration) -> bool {
        let age = self.entries.get(&id).map(|entry| entry.since.elapsed());
        age.is_none_or(|age| time <= age + Duration::from_secs(1))
    }

    /// Whether a role may name `vouched` as the client of this connection, in place of its other end.
    pub(crate) fn may_be_vouched(&self, id: ConnectionId, vouched: Option<SocketAddr>) -> bool {
        vouched.is_none() || self.entries.get(&id).is_none_or(|entry| entry.facts.is_proxy)
    }

    /// Whether any connection waits for a gateway or is being sent to one.
    pub(crate) fn any_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Whether any connection was handed over that its gateway has not begun to read.
    pub(crate) fn any_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Whether any connection belongs to this generation.
    pub(crate) fn any_of(&self, generation: u32) -> bool {
        let mut entries = self.entries.values();
        entries.any(|one| one.state.gateway().is_some() && one.facts.generation == generation)
    }

    /// Connections of a gateway, including those that are being sent to it. A connection that the gateway has
    /// reported as ended counts until the connector has settled it.
    pub(crate) fn load_of(&self, gateway: GatewayId) -> u64 {
        self.loads.get(&gateway).copied().unwrap_or(0)
    }

    /// Connections of all gateways, including those that are being sent.
    pub(crate) fn load(&self) -> u64 {
        self.loads.values().sum()
    }

    /// Sums over sessions that have ended.
    pub(crate) fn ended_sessions(&self) -> EndedSessions {
        self.ended.clone()
    }

    /// The sessions of a gateway.
    pub(crate) fn sessions_of(&self, gateway: GatewayId) -> Vec<ConnectionId> {
        let is_meant = |one: &super::Entry| one.state.is_session() && one.state.gateway() == Some(gateway);
        self.entries.iter().filter(|(_, one)| is_meant(one)).map(|(id, _)| *id).collect()
    }

    /// Whether any session belongs to this generation.
    pub(crate) fn any_session_of(&self, generation: u32) -> bool {
        self.entries.values().any(|one| one.state.is_session() && one.facts.generation == generation)
    }

    /// The numbers of all connections.
    pub(crate) fn ids(&self) -> Vec<ConnectionId> {
        self.entries.keys().copied().collect()
    }

    /// Those of the connections `ids` that have ended.
    pub(crate) fn ended_among(&self, ids: &[ConnectionId]) -> Vec<ConnectionId> {
        ids.iter().filter(|id| !self.entries.contains_key(id)).copied().collect()
    }

    /// Those of the connections `ids` that are sessions of a generation for which `is_meant` holds, given the keyed hash
    /// of the token, with their gateways.
    pub(crate) fn sessions_where(
        &self,
        generation: u32,
        ids: &[ConnectionId],
        is_meant: impl Fn(Option<&str>, &Ongoing<'_>) -> bool,
    ) -> Vec<(GatewayId, ConnectionId)> {
        let meant = ids.iter().filter_map(|id| {
            let one = self.entries.get(id)?;
            let gateway = one.state.gateway().filter(|_| one.state.is_session())?;
            let opening = &one.facts.session.as_ref()?.opening;
            let session = Ongoing {
                target: &opening.target,
                client: &opening.client(&one.facts.client),
                user: opening.user.as_deref(),
                is_recorded: one.facts.is_recorded,
                age: one.since.elapsed(),
            };
            let is_own = one.facts.generation == generation;
            (is_own && is_meant(opening.token.as_deref(), &session)).then_some((gateway, *id))
        });
        meant.collect()
    }

    /// The gateway that serves a session.
    pub(crate) fn gateway_of_session(&self, id: ConnectionId) -> Option<GatewayId> {
        self.entries.get(&id).filter(|one| one.state.is_session())?.state.gateway()
    }

    /// All sessions, oldest first, without their counters, which only their gateways know.
    pub(crate) fn sessions(&self) -> Vec<control::Session> {
        let mut sessions: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, one)| one.state.is_session())
            .filter_map(|(id, one)| {
                let opening = &one.facts.session.as_ref()?.opening;
                Some(control::Session {
                    id: id.0,
                    session: self.run.session(*id).to_string(),
                    client: opening.client(&one.facts.client).with_port(),
                    proxy: opening.proxy(&one.facts.client).map(ClientAddr::with_port),
                    target: opening.target.clone(),
                    seconds: one.since.elapsed().as_secs(),
                    generation: one.facts.generation,
                    user: opening.user.clone(),
                    ..control::Session::default()
                })
            })
            .collect();
        sessions.sort_by_key(|session| session.id);
        sessions
    }

    /// The run of the sessions.
    pub(crate) fn run(&self) -> Run {
        self.run
    }

    /// Sums since the start.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }
}
