//! What clients do that limits them later.

use serde::{Deserialize, Serialize};

use crate::role::RoleName;

/// Something that a client does and that its source is penalised for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Offence {
    /// Wrong credentials, or a refusal by an authentication plugin.
    WrongPassword,
    /// No token, or one that leads to no target.
    UnknownToken,
    /// The origin of the page is not allowed, or the host is not the instance's.
    RefusedOrigin,
    /// A request or frame that breaks HTTP or WebSocket.
    ProtocolViolation,
    /// No complete request in time.
    NoRequest,
    /// A gateway crashed while it read from the client.
    Crash,
}

impl Offence {
    /// All offences.
    pub const ALL: [Self; 6] = [
        Self::WrongPassword,
        Self::UnknownToken,
        Self::RefusedOrigin,
        Self::ProtocolViolation,
        Self::NoRequest,
        Self::Crash,
    ];

    /// Name of the offence, for the log and for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WrongPassword => "wrong_password",
            Self::UnknownToken => "unknown_token",
            Self::RefusedOrigin => "refused_origin",
            Self::ProtocolViolation => "protocol_violation",
            Self::NoRequest => "no_request",
            Self::Crash => "crash",
        }
    }

    /// The role that may report it; `None` if the supervisor alone notices it.
    #[must_use]
    pub fn reporter(self) -> Option<RoleName> {
        match self {
            Self::WrongPassword | Self::UnknownToken | Self::RefusedOrigin => Some(RoleName::Connector),
            Self::ProtocolViolation | Self::NoRequest => Some(RoleName::Gateway),
            Self::Crash => None,
        }
    }
}
