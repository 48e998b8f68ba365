//! Uses of tokens, which the connector reserves in the supervisor before it dials.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often a token may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseLimits {
    /// Maximum number of sessions over all time; `None` for unlimited.
    pub uses: Option<NonZeroU32>,
    /// Maximum number of sessions at a time; `None` for unlimited.
    pub sessions: Option<NonZeroU32>,
    /// Time for which a session that was lost may be continued without a further use.
    pub reconnect: Option<Duration>,
    /// Maximum duration of the session; `None` for unlimited.
    pub lifetime: Option<Duration>,
    /// When the token expires, in seconds since 1970; `None` for never.
    pub expires: Option<u64>,
}

impl UseLimits {
    /// Limits nothing, so that nothing is counted.
    pub const NONE: Self =
        Self { uses: None, sessions: None, reconnect: None, lifetime: None, expires: None };

    /// Whether uses of the token are counted.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.uses.is_some() || self.sessions.is_some()
    }
}

/// Answer to a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reservation {
    /// The token may be used.
    Granted {
        /// Maximum duration of the session; `None` for unlimited. A session that is continued ends when the one that was
        /// lost would have.
        lifetime: Option<Duration>,
    },
    /// The token has been used as often as it may be.
    UsedUp,
    /// The token has as many sessions as it may have at a time.
    InUse,
    /// The token was revoked.
    Revoked,
    /// Too many tokens are counted.
    Overloaded,
    /// The connection has ended meanwhile.
    Over,
}
