//! Messages between the processes: one enum for each direction of each channel.
//!
//! A channel is a `SOCK_SEQPACKET` pair; a message is one datagram of at most [`wire::MAX_BYTES`] with
//! at most one descriptor, which is a field of its message. Whoever receives treats the other end as
//! hostile: what can't be decoded is an error, and the channel is given up.

pub mod admission;
pub mod ask;
pub mod channel;
pub mod connector;
pub mod exporter;
pub mod gateway;
pub mod level;
pub mod request;
pub mod setup;
pub mod signer;
pub mod unwatched;
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
mod tests;
