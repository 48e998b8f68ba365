//! Messages between the processes: one enum for each direction of each channel.
//!
//! A channel is a `SOCK_SEQPACKET` pair; a message is one datagram of at most [`wire::MAX_BYTES`] with
//! at most one descriptor, which is a field of its message. Whoever receives treats the other end as
//! hostile: what can't be decoded is an error, and the channel is given up.

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
pub mod request;
pub mod setup;
pub mod signer;
pub mod stats;
pub mod table;
pub mod wire;
pub mod wrapper;

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// An accepted connection, counted from 1 since the supervisor has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionId(pub u64);

/// One gateway process, counted from 1 since the supervisor has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GatewayId(pub u32);

/// A session as the log and its client know it: 128 bits, of which the first 64 tell this run of the service from
/// all others. Random, and no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId {
    /// Of this run.
    pub run: u64,
    /// Its connection.
    pub connection: ConnectionId,
}

impl SessionId {
    /// Reads what is written by `Display`.
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

/// A gateway has done what none does that is in order: it must not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which.
    pub gateway: GatewayId,
    /// What it has done, for a human: some words of ours, never what it sent.
    pub what: String,
}

/// Who a client is: its address and port, or the unix socket that it came through.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClientAddr {
    /// A TCP client.
    Ip(SocketAddr),
    /// A client of the unix listener at this path.
    Unix(String),
}

impl fmt::Display for ClientAddr {
    /// The host alone, as the original's log lines have it.
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
