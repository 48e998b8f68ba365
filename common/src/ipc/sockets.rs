//! Unix sockets to which the supervisor connects as root, for a connector that lacks the permission.

use serde::{Deserialize, Serialize};

/// The socket that a connector requests. It contains no path, so that only sockets which the configuration or a token
/// file names can be requested.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketName {
    /// The target of all sessions.
    Target,
    /// The socket with this number in [`TokenFiles::sockets`](super::setup::TokenFiles::sockets).
    Listed(u64),
    /// The socket with this name in the directory of sockets. The name is a client's token.
    InDirectory(String),
}

impl SocketName {
    /// Maximum length of a name in a directory, in bytes.
    pub const MAX_BYTES: usize = 1024;

    /// Whether `name` can be the name of a socket in a directory: relative, without `..`, and of limited length. A
    /// connector requests no other.
    #[must_use]
    pub fn is_sound(name: &str) -> bool {
        let parts = || name.split('/');
        name.len() <= Self::MAX_BYTES
            && !name.contains('\0')
            && parts().all(|part| !matches!(part, "" | "." | ".."))
    }
}

/// Omits the token.
impl std::fmt::Debug for SocketName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Target => f.write_str("Target"),
            Self::Listed(number) => write!(f, "Listed({number})"),
            Self::InDirectory(_) => f.write_str("InDirectory(…)"),
        }
    }
}

/// The reason why a connector gets no socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoSocket {
    /// The error number of the lookup or the connection. After `EAGAIN` the connector may repeat the request.
    System(i32),
    /// The supervisor refuses to connect, for this reason, which is logged.
    Refused(String),
}

/// Maximum number of requests of a connector without an answer yet. Each concerns another connection.
pub const MAX_SOCKET_QUESTIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_not_sound() {
        for name in ["vm", "a/b", "..a", "a.sock"] {
            assert!(SocketName::is_sound(name), "{name}");
        }
        let long = "x".repeat(SocketName::MAX_BYTES + 1);
        for name in [
            "",
            "/",
            "/run/docker.sock",
            "../vm",
            "a/../vm",
            "a/..",
            "a//b",
            "a/",
            "./a",
            "\0abstract",
            "a\0b",
            &long,
        ] {
            assert!(!SocketName::is_sound(name), "{name:?}");
        }
    }
}
