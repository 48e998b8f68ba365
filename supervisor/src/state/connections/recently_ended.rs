//! Connections that have ended recently. Log lines about them may arrive late, as they use a channel of their
//! own.

use std::collections::VecDeque;
use std::net::SocketAddr;

use common::ipc::{ClientAddr, ConnectionId, GatewayId};

use super::entry::Facts;

/// Number of connections to remember: more than end while a line is delayed.
const MOST: usize = 1024;

/// The client of a connection that a role has named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClientLookup {
    /// The client of the connection.
    Client(ClientAddr),
    /// The connection is unknown, or has been forgotten.
    Unknown,
    /// The connection belongs to another role, or its other end may not vouch for another client.
    Foreign,
}

impl ClientLookup {
    /// The client of a connection with `peer`. The role says that it is `vouched`, on behalf of a trusted proxy.
    pub(super) fn of(
        peer: &ClientAddr,
        is_proxy: bool,
        vouched: Option<SocketAddr>,
        is_theirs: bool,
    ) -> Self {
        match vouched {
            _ if !is_theirs => Self::Foreign,
            None => Self::Client(peer.clone()),
            Some(vouched) if is_proxy => Self::Client(ClientAddr::Ip(vouched)),
            Some(_) => Self::Foreign,
        }
    }
}

/// The connections that have ended recently, oldest first.
#[derive(Debug, Default)]
pub(super) struct RecentlyEnded(VecDeque<Ended>);

/// A connection that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    id: ConnectionId,
    client: ClientAddr,
    is_proxy: bool,
    pub(super) gateway: Option<GatewayId>,
    pub(super) generation: u32,
}

impl RecentlyEnded {
    /// Remembers a connection.
    pub(super) fn add(&mut self, id: ConnectionId, gateway: Option<GatewayId>, facts: &Facts) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        let Facts { client, is_proxy, generation, .. } = facts;
        let (client, is_proxy, generation) = (client.clone(), *is_proxy, *generation);
        self.0.push_back(Ended { id, client, is_proxy, gateway, generation });
    }

    /// The client of a connection, if the connection belonged to the role that names it.
    pub(super) fn client(
        &self,
        id: ConnectionId,
        vouched: Option<SocketAddr>,
        is_theirs: impl Fn(&Ended) -> bool,
    ) -> ClientLookup {
        let ended = self.0.iter().rfind(|ended| ended.id == id);
        ended.map_or(ClientLookup::Unknown, |ended| {
            ClientLookup::of(&ended.client, ended.is_proxy, vouched, is_theirs(ended))
        })
    }
}
