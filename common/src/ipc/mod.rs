//! Messages between the processes: one enum for each direction of each channel.
//!
//! A channel is a `SOCK_SEQPACKET` pair. A message is one datagram of at most [`wire::MAX_BYTES`] with at
//! most one descriptor, which is a field of the message. The receiver treats the other end as hostile: a
//! message that can't be decoded is an error, and the channel is given up.

pub mod ack_channel;
pub mod admission;
pub mod channel;
pub mod connector;
pub mod directions;
pub mod echo;
pub mod exporter;
pub mod gateway;
pub mod level;
pub mod log;
pub mod lookup;
pub mod offence;
pub mod request;
pub mod setup;
pub mod signer;
pub mod sockets;
pub mod sources;
pub mod stats;
pub mod table;
pub mod token_reach;
pub mod uses;
pub mod wire;
pub mod wrapper;

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::networks::Networks;

/// Number of an accepted connection, from 1 since the start of the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionId(pub u64);

/// Number of a gateway process, from 1 since the start of the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GatewayId(pub u32);

/// Id of a session in the log and for its client: 128 bits, of which the first 64 identify the run of the
/// service. Random, but not secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId {
    /// Number of the run.
    pub run: u64,
    /// Its connection.
    pub connection: ConnectionId,
}

impl SessionId {
    /// Parses the text that `Display` formats.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |part: Option<&str>| u64::from_str_radix(part?, 16).ok();
        let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (run, connection) = (number(text.get(..16))?, ConnectionId(number(text.get(16..))?));
        is_id.then_some(Self { run, connection })
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.run, self.connection.0)
    }
}

/// A violation of protocol by a gateway, which must be ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The gateway.
    pub gateway: GatewayId,
    /// Description for humans. It never contains data of the gateway.
    pub what: String,
}

/// Address of a client: IP address and port, or the path of the unix socket that it connected to. The port is 0 if a
/// proxy vouches for the address and does not tell it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClientAddr {
    /// A TCP client.
    Ip(SocketAddr),
    /// A client of the unix listener at this path.
    Unix(String),
}

impl ClientAddr {
    /// Whether the client belongs to one of `networks`.
    #[must_use]
    pub fn is_in(&self, networks: &Networks) -> bool {
        match self {
            Self::Ip(address) => networks.contains(address.ip()),
            Self::Unix(_) => networks.contains_unix(),
        }
    }

    /// Formats the address with its port, if that is known.
    #[must_use]
    pub fn with_port(&self) -> String {
        match self {
            Self::Ip(address) if address.port() == 0 => address.ip().to_string(),
            Self::Ip(address) => address.to_string(),
            Self::Unix(path) => format!("unix:{path}"),
        }
    }
}

impl fmt::Display for ClientAddr {
    /// Formats the host only, as in the original's log lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.ip().fmt(f),
            Self::Unix(path) => path.fmt(f),
        }
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod phases;
#[cfg(test)]
mod tests;
