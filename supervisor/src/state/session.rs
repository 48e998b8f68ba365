//! The identity of a session, and what is known when it begins.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use common::ipc::{ClientAddr, ConnectionId, SessionId};
use serde::{Deserialize, Serialize};

/// Distinguishes the sessions of this run from those of all others. Random, but not secret.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Run(u64);

impl Default for Run {
    fn default() -> Self {
        // The standard library seeds this from random bytes of the kernel.
        Self(RandomState::new().build_hasher().finish())
    }
}

impl Run {
    /// The number of the run.
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// The id of a session of this run.
    pub(crate) fn session(self, connection: ConnectionId) -> SessionId {
        SessionId { run: self.0, connection }
    }
}

/// Facts about a session when it begins, from the connector and the configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Opening {
    /// The target.
    pub(crate) target: String,
    /// The client's address according to its proxies, if the other end of the connection is a trusted one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vouched: Option<SocketAddr>,
    /// The authenticated user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// Authentication methods that the client has passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth_method: Option<String>,
    /// Hash of the client's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// When the token expires, in seconds since 1970, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<u64>,
    /// Time until the target was connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connect: Option<Duration>,
}

impl Opening {
    /// The client of a connection with `peer`.
    pub(crate) fn client(&self, peer: &ClientAddr) -> ClientAddr {
        self.vouched.map_or_else(|| peer.clone(), ClientAddr::Ip)
    }

    /// `peer`, if it is not the client but its proxy.
    pub(crate) fn proxy<'a>(&self, peer: &'a ClientAddr) -> Option<&'a ClientAddr> {
        self.vouched.map(|_| peer)
    }
}

impl From<&str> for Opening {
    /// A session to `target` of which nothing else is known.
    fn from(target: &str) -> Self {
        Self { target: target.into(), ..Self::default() }
    }
}
