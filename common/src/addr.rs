//! Addresses as administrators write them: where to listen and what to connect to.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where a listener is bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ListenAddr {
    /// A TCP port. Without a host all addresses of the machine, IPv4 and IPv6.
    Tcp {
        /// A host name or an IP address without brackets.
        host: Option<String>,
        /// 0 lets the kernel choose.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// What a session is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TargetAddr {
    /// A host name or IP address (without brackets) and a port.
    Tcp {
        /// Resolved for each connection; every address is tried.
        host: String,
        /// Never 0.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A host as it stands before a port: IPv6 addresses get brackets (RFC 3986 section 3.2.2).
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host: None, port } => write!(f, ":{port}"),
            Self::Tcp { host: Some(host), port } => write!(f, "{}:{port}", bracketed(host)),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for TargetAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{}:{port}", bracketed(host)),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
