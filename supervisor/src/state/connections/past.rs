//! Connections that are over, for what is still said about them: log lines come on a channel of their own.

use std::collections::VecDeque;

use common::ipc::{ClientAddr, ConnectionId, GatewayId};

use super::entry::Facts;

/// So many are remembered: more than end within the moment that a line is late.
const MOST: usize = 1024;

/// Whom a role means by a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// This client.
    Client(ClientAddr),
    /// Somebody whom nobody knows any more.
    Unknown,
    /// A client of another role.
    Foreign,
}

impl Named {
    pub(super) fn of(client: &ClientAddr, is_theirs: bool) -> Self {
        if is_theirs { Self::Client(client.clone()) } else { Self::Foreign }
    }
}

/// The connections that were there lately, oldest first.
#[derive(Debug, Default)]
pub(super) struct Past(VecDeque<Ended>);

/// A connection that is over.
#[derive(Debug)]
pub(super) struct Ended {
    id: ConnectionId,
    client: ClientAddr,
    pub(super) gateway: Option<GatewayId>,
    pub(super) generation: u32,
}

impl Past {
    /// Remembers a connection.
    pub(super) fn add(&mut self, id: ConnectionId, gateway: Option<GatewayId>, facts: &Facts) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back(Ended { id, client: facts.client.clone(), gateway, generation: facts.generation });
    }

    /// The client of a connection, if it belonged to who speaks of it.
    pub(super) fn client(&self, id: ConnectionId, is_theirs: impl Fn(&Ended) -> bool) -> Named {
        let ended = self.0.iter().rfind(|ended| ended.id == id);
        ended.map_or(Named::Unknown, |ended| Named::of(&ended.client, is_theirs(ended)))
    }
}
