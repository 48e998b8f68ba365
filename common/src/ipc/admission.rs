//! Between a gateway, which asks, and the connector, which decides and dials.

use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConnectionId;
use super::table::messages;
use crate::config::Secret;
use crate::ticket::Ticket;

messages! {
    /// What a gateway asks.
    #[derive(PartialEq, Eq)]
    pub enum GatewayToConnector: "gateway" => "connector" {
        /// May this connection have a target, and which? It is asked once.
        ADMIT = 1 in Serving: Admit(request: AdmissionRequest),
        /// May this connection have a page? It is asked before each, until one is refused.
        BROWSE = 2 in Serving: Browse(request: AdmissionRequest),
    }
}

messages! {
    /// What the connector answers.
    pub enum ConnectorToGateway: "connector" => "gateway" {
        /// The target's end of the session.
        CONNECTED = 1 in Serving: Connected {
            /// The connection that gets it.
            id: ConnectionId,
            /// A connected, non-blocking stream socket.
            target: OwnedFd [fd],
            /// The target's host, by which it is known in TLS; none for a unix socket.
            host: Option<String>,
            /// How long the session may last; without end if absent.
            lifetime: Option<Duration>,
        } lost id,
        /// This connection may have a page.
        GRANTED = 2 in Serving: Granted(id: ConnectionId),
        /// There is no target, and no page.
        REFUSED = 3 in Serving: Refused {
            /// The connection that gets none.
            id: ConnectionId,
            /// Why, as far as the client may know.
            refusal: Refusal,
        },
    }
}

/// What the connector decides upon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmissionRequest {
    /// The connection's ticket. The connector believes nothing about a connection but this.
    pub ticket: Ticket,
    /// What the client has shown, as far as the connector wants to know it.
    pub facts: ClientFacts,
}

/// What a client has shown of itself in its request, by the word of its gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientFacts {
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

impl ClientFacts {
    /// The value of a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name == name).map(|header| header.value.reveal())
    }
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
