//! Unix sockets that the supervisor, as root, connects to for a connector that may not.

use serde::{Deserialize, Serialize};

/// Which socket a connector asks for. It gives no path: only sockets that the configuration or token files name can be
/// asked for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketName {
    /// The target of all sessions.
    Target,
    /// The one with this number in [`TokenFiles::sockets`](super::setup::TokenFiles::sockets).
    Listed(u64),
    /// The one with this name in the directory of sockets. It is a client's token.
    InDirectory(String),
}

impl SocketName {
    /// Longest name in a directory, bytes.
    pub const MAX_BYTES: usize = 1024;

    /// Whether `name` can be the name of a socket in a directory: relative, without `..`, and of bounded length. A
    /// connector asks for no other.
    #[must_use]
    pub fn is_sound(name: &str) -> bool {
        let parts = || name.split('/');
        name.len() <= Self::MAX_BYTES
            && !name.contains('\0')
            && parts().all(|part| !matches!(part, "" | "." | ".."))
    }
}

/// Does not show the token.
impl std::fmt::Debug for SocketName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Target => f.write_str("Target"),
            Self::Listed(number) => write!(f, "Listed({number})"),
            Self::InDirectory(_) => f.write_str("InDirectory(…)"),
        }
    }
}

/// Why there is no socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoSocket {
    /// The system's error number for finding it or connecting to it. With `EAGAIN` the connector may ask again.
    System(i32),
    /// The supervisor does not connect there; the reason, for the log.
    Refused(String),
}

/// Questions of a connector that may wait for their answers at a time. Each is about another connection.
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
