//! Between a gateway, which asks, and the connector, which decides and dials.

use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConnectionId;
use super::wire::{self, Encoded, Message, WireError};
use crate::config::Secret;
use crate::ticket::Ticket;

/// What a gateway asks.
#[derive(Debug, PartialEq, Eq)]
pub enum GatewayToConnector {
    /// May this connection have a target, and which? It is asked once.
    Admit(AdmissionRequest),
    /// May this connection have a page? It is asked before each, until one is refused.
    Browse(AdmissionRequest),
}

/// What the connector decides upon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmissionRequest {
    /// The connection's ticket. The connector believes nothing about a connection but this.
    pub ticket: Ticket,
    /// What the client has shown, as far as the connector wants to know it.
    pub shown: Shown,
}

/// What a client has shown of itself in its request, by the word of its gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its token, if it has one.
    pub token: Option<Secret>,
    /// Fields of its request, of each name the first.
    pub headers: Vec<Header>,
    /// The common name of its certificate, if it has a valid one.
    pub common_name: Option<String>,
    /// The head of its request, unless that is longer than [`Head::MAX_BYTES`].
    pub head: Option<Head>,
}

/// The head of a request, for plugins of the administrator's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Path and query. A token may stand in it.
    pub path: Secret,
    /// All fields but those of the WebSocket, of each name the first.
    pub headers: Vec<Header>,
}

impl Head {
    /// The longest head that is passed on, bytes. A message takes little more.
    pub const MAX_BYTES: usize = 12 << 10;
}

/// A field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// In lower case.
    pub name: String,
    /// Its bytes as ISO 8859-1, as the original reads them. It may be a password.
    pub value: Secret,
}

impl Shown {
    /// The value of a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name == name).map(|header| header.value.reveal())
    }
}

impl Message for GatewayToConnector {
    fn encode(&self) -> Result<Encoded<'_>, WireError> {
        match self {
            Self::Admit(request) => wire::body(1, request, None),
            Self::Browse(request) => wire::body(2, request, None),
        }
    }

    fn decode(tag: u8, body: &[u8], fd: Option<OwnedFd>) -> Result<Self, WireError> {
        wire::without_fd(fd)?;
        match tag {
            1 => Ok(Self::Admit(wire::fields(tag, body)?)),
            2 => Ok(Self::Browse(wire::fields(tag, body)?)),
            _ => Err(WireError::Tag(tag)),
        }
    }
}

/// What the connector answers.
#[derive(Debug)]
pub enum ConnectorToGateway {
    /// The target's end of the session.
    Connected {
        /// Whose.
        id: ConnectionId,
        /// A connected, non-blocking stream socket.
        target: OwnedFd,
        /// The target's host, by which it is known in TLS; none for a unix socket.
        host: Option<String>,
        /// How long the session may last; without end if absent.
        lifetime: Option<Duration>,
    },
    /// It may have a page.
    Granted(ConnectionId),
    /// There is none.
    Refused {
        /// Whose.
        id: ConnectionId,
        /// Why, as far as the client may know.
        refusal: Refusal,
    },
}

/// Why a connection gets no target. Details are in the connector's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The target refused, did not answer in time, or its name has no address.
    Unreachable,
    /// We ourselves have run out of something.
    Overloaded,
    /// The ticket is no longer good: the client may come again with another connection.
    Stale,
    /// The client must name itself, or has done so wrongly.
    Unauthorized,
    /// The client may not.
    Forbidden,
    /// The client has no token.
    NoToken,
    /// Nothing is known of its token.
    UnknownToken,
    /// What knows the targets can't be asked, or gives no sense.
    LookupFailed,
    /// The client is a page of an origin that may not.
    WrongOrigin,
    /// A plugin that decides who is let in can't be asked, or gives no sense.
    AuthFailed,
    /// The client may not, and a plugin has said what to answer.
    Answered(Reply),
}

/// What a plugin wants a client to be answered. The gateway checks what may stand in HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The status (RFC 9110 section 15), one of [`Self::STATUSES`].
    pub status: u16,
    /// The reason phrase, if not the usual one.
    pub reason: Option<String>,
    /// Fields, at most [`Self::MAX_FIELDS`].
    pub headers: Vec<Header>,
}

impl Reply {
    /// A client that is refused can be sent elsewhere, or told whose fault it is.
    pub const STATUSES: RangeInclusive<u16> = 300..=599;

    /// Most fields.
    pub const MAX_FIELDS: usize = 16;

    /// Longest fields and reason phrase, bytes of all together.
    pub const MAX_BYTES: usize = 4 << 10;
}

impl Message for ConnectorToGateway {
    fn encode(&self) -> Result<Encoded<'_>, WireError> {
        match self {
            Self::Connected { id, target, host, lifetime: None } => {
                wire::body(1, &(id, host), Some(target.as_fd()))
            }
            Self::Connected { id, target, host, lifetime } => {
                wire::body(4, &(id, host, lifetime), Some(target.as_fd()))
            }
            Self::Refused { id, refusal } => wire::body(2, &(id, refusal), None),
            Self::Granted(id) => wire::body(3, id, None),
        }
    }

    fn decode(tag: u8, body: &[u8], fd: Option<OwnedFd>) -> Result<Self, WireError> {
        match tag {
            1 => {
                let (id, host) = wire::fields(tag, body)?;
                Ok(Self::Connected { id, target: wire::with_fd(fd)?, host, lifetime: None })
            }
            2 => {
                wire::without_fd(fd)?;
                let (id, refusal) = wire::fields(tag, body)?;
                Ok(Self::Refused { id, refusal })
            }
            3 => wire::without_fd(fd).and_then(|()| Ok(Self::Granted(wire::fields(tag, body)?))),
            4 => {
                let (id, host, lifetime) = wire::fields(tag, body)?;
                Ok(Self::Connected { id, target: wire::with_fd(fd)?, host, lifetime })
            }
            _ => Err(WireError::Tag(tag)),
        }
    }
}

/// The connection whose target was lost on the way, because the gateway has too many descriptors
/// open, read from what is left of its message.
///
/// # Errors
///
/// When it was another message.
pub fn lost_target(datagram: &[u8]) -> Result<ConnectionId, WireError> {
    match *datagram {
        [_, 1, ref body @ ..] => wire::fields(1, body).map(|(id, _): (_, Option<String>)| id),
        [_, 4, ref body @ ..] => {
            wire::fields(4, body).map(|(id, ..): (_, Option<String>, Option<Duration>)| id)
        }
        _ => Err(WireError::Truncated),
    }
}
