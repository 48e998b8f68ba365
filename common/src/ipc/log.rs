//! Log lines that a role sends to the supervisor.

use serde::{Deserialize, Serialize};
use tracing::Level;

use super::ConnectionId;
use super::table::messages;
use crate::role::RoleName;

messages! {
    /// What a role says on the channel of its log, its standard output.
    #[derive(PartialEq, Eq)]
    pub enum LogMessage: "any role" => "supervisor" {
        /// What is to be logged.
        LINES = 1 in Serving: Lines(lines: LogLines),
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// How much it matters.
    pub severity: Severity,
    /// The connection that it is about. The supervisor knows its client.
    pub connection: Option<ConnectionId>,
    /// What happened, or what completes the line of `event`. May hold what clients sent: escape it before a human sees
    /// it.
    pub text: String,
    /// The kind of event, for lines that have a form of their own.
    pub event: Option<RoleEvent>,
}

/// Kinds of events that roles tell of: the field `event` of a `tracing` event, by its name. The supervisor gives the lines
/// of each kind their form, so that none can be taken for another line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoleEvent {
    /// A client has not proved what it must.
    AuthDenied,
    /// A client has no token, or none that leads anywhere.
    TokenDenied,
    /// A TLS handshake has failed.
    TlsFailed,
    /// A client asks for a WebSocket, without TLS.
    PlainWebSocket,
    /// A client asks for a WebSocket, with TLS.
    SecureWebSocket,
    /// It asks for this path.
    Path,
    /// A request was answered; its first line and the status.
    Answered,
    /// A request was refused; the status and its reason.
    Refused,
    /// A client speaks no TLS, which is required.
    NotSecure,
    /// A client speaks TLS, and this certificate is missing.
    NoCertificate,
    /// The wrapped program has written a line.
    Output,
}

impl RoleEvent {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::AuthDenied,
        Self::TokenDenied,
        Self::TlsFailed,
        Self::PlainWebSocket,
        Self::SecureWebSocket,
        Self::Path,
        Self::Answered,
        Self::Refused,
        Self::NotSecure,
        Self::NoCertificate,
        Self::Output,
    ];

    /// The name, as `tracing` has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthDenied => "auth-denied",
            Self::TokenDenied => "token-denied",
            Self::TlsFailed => "tls-failed",
            Self::PlainWebSocket => "plain-web-socket",
            Self::SecureWebSocket => "secure-web-socket",
            Self::Path => "path",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::NotSecure => "not-secure",
            Self::NoCertificate => "no-certificate",
            Self::Output => "output",
        }
    }

    /// The role that tells of it.
    #[must_use]
    pub fn teller(self) -> RoleName {
        match self {
            Self::AuthDenied | Self::TokenDenied => RoleName::Connector,
            Self::Output => RoleName::Wrapper,
            _ => RoleName::Gateway,
        }
    }

    /// The kind of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Shown with `--verbose`.
    Debug,
    /// Normal events.
    Info,
    /// Trouble that the service survives and that an administrator may want to end.
    Warning,
    /// Our own failure.
    Error,
}

impl From<&Level> for Severity {
    fn from(level: &Level) -> Self {
        match *level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warning,
            Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}

/// The log lines of one turn or more of a role's event loop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLines {
    /// So many before these were dropped, because nobody read them.
    pub dropped: u32,
    /// In their order.
    pub lines: Vec<LogLine>,
    /// Marks of `--traffic`, in their order; a line break for the beginning of a session.
    pub marks: String,
}
