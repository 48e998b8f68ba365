//! What names a session, and what is known about it when it begins.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use common::ipc::{ConnectionId, SessionId};
use serde::{Deserialize, Serialize};

/// What tells the sessions of this run from those of all others: random, and no secret.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Run(u64);

impl Default for Run {
    fn default() -> Self {
        // The standard library seeds this from the system's random bytes.
        Self(RandomState::new().build_hasher().finish())
    }
}

impl Run {
    /// Its number.
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// The id of one of its sessions.
    pub(crate) fn session(self, connection: ConnectionId) -> SessionId {
        SessionId { run: self.0, connection }
    }
}

/// What the connector and the configuration say about a session that begins.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Opening {
    /// Its target.
    pub(crate) target: String,
    /// Who the client has proved to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// What it had to prove.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth_method: Option<String>,
    /// What stands for its token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// How long it took to reach the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connect: Option<Duration>,
}

impl From<&str> for Opening {
    /// One of which nothing else is known.
    fn from(target: &str) -> Self {
        Self { target: target.into(), ..Self::default() }
    }
}
