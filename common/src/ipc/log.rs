//! Log lines that a role sends to the supervisor.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tracing::Level;

use super::ConnectionId;
use super::table::messages;
use crate::role::RoleName;

messages! {
    /// Messages of a role on its log channel, which is its standard output.
    #[derive(PartialEq, Eq)]
    pub enum LogMessage: "any role" => "supervisor" {
        /// Lines and marks.
        LINES = 1 in Serving: Lines(lines: LogLines),
    }
}

/// A log line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Severity of the line.
    pub severity: Severity,
    /// The connection that the line is about. The supervisor knows its client.
    pub connection: Option<ConnectionId>,
    /// The address of that client according to its proxies.
    pub vouched: Option<SocketAddr>,
    /// The text of the line, or the variable part of the line of `event`. It may contain text of clients, and
    /// must be escaped before it is displayed.
    pub text: String,
    /// Kind of event, for lines with a fixed format.
    pub event: Option<RoleEvent>,
}

/// Kinds of events that roles report, by the field `event` of a `tracing` event. The supervisor formats the
/// lines of each kind, so that a role can't forge other lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoleEvent {
    /// A client has failed authentication.
    AuthDenied,
    /// A client has no token, or an invalid one.
    TokenDenied,
    /// A TLS handshake has failed.
    TlsFailed,
    /// A client requests a WebSocket, without TLS.
    PlainWebSocket,
    /// A client requests a WebSocket, with TLS.
    SecureWebSocket,
    /// Path of a request for a WebSocket.
    Path,
    /// A request was answered: its request line and the status.
    Answered,
    /// A request was rejected: the status and its reason.
    Refused,
    /// A client does not use TLS, which is required.
    NotSecure,
    /// A client uses TLS, but this certificate is missing.
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

    /// Name of the kind, as used with `tracing`.
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

    /// The role that reports events of this kind.
    #[must_use]
    pub fn teller(self) -> RoleName {
        match self {
            Self::AuthDenied | Self::TokenDenied => RoleName::Connector,
            Self::Output => RoleName::Wrapper,
            _ => RoleName::Gateway,
        }
    }

    /// Finds a kind by its name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Shown with `--verbose`.
    Debug,
    /// Normal events.
    Info,
    /// Trouble that the service survives, but that may need an administrator.
    Warning,
    /// A failure of the service.
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

/// A batch of log lines, from one or more turns of a role's event loop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLines {
    /// Number of lines before these that were dropped because the supervisor did not read them in time.
    pub dropped: u32,
    /// The lines in their order.
    pub lines: Vec<LogLine>,
    /// Marks of `--traffic` in their order. A line break stands for the beginning of a session.
    pub marks: String,
}
