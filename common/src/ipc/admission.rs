//! Between a gateway, which asks for admission, and the connector, which decides and dials.

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
        /// Asks for a target for this connection; at most once for each.
        ADMIT = 1 in Serving: Admit(request: AdmissionRequest),
        /// Asks for a page for this connection; before each page, until one is denied.
        BROWSE = 2 in Serving: Browse(request: AdmissionRequest),
    }
}

messages! {
    /// What the connector answers.
    pub enum ConnectorToGateway: "connector" => "gateway" {
        /// The session's connection to its target.
        CONNECTED = 1 in Serving: Connected {
            /// The connection that gets it.
            id: ConnectionId,
            /// A connected, non-blocking stream socket.
            target: OwnedFd [fd],
            /// The target's host name, for TLS; none for a unix socket.
            host: Option<String>,
            /// Longest duration of the session; unlimited if absent.
            lifetime: Option<Duration>,
        } lost id,
        /// The page is granted.
        GRANTED = 2 in Serving: Granted(id: ConnectionId),
        /// The target or page is denied.
        REFUSED = 3 in Serving: Refused {
            /// The connection that is denied.
            id: ConnectionId,
            /// The reason, as far as the client may know it.
            refusal: Refusal,
        },
    }
}

/// What the connector decides about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmissionRequest {
    /// The ticket of the connection: the only statement about it that the connector trusts.
    pub ticket: Ticket,
    /// What the client has presented, as far as the connector has asked for it.
    pub facts: ClientFacts,
}

/// What a client has presented in its request, according to its gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientFacts {
    /// Its token, if any.
    pub token: Option<Secret>,
    /// Header fields of its request, the first of each name.
    pub headers: Vec<Header>,
    /// The common name of its certificate, if it has presented a valid one.
    pub common_name: Option<String>,
    /// The head of its request, unless that is longer than [`Head::MAX_BYTES`].
    pub head: Option<Head>,
}

/// The head of a request, for plugins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Path and query, which may contain a token.
    pub path: Secret,
    /// All header fields but those of the WebSocket handshake, the first of each name.
    pub headers: Vec<Header>,
}

impl Head {
    /// Longest head that is passed on, in bytes. A message is only a little longer.
    pub const MAX_BYTES: usize = 12 << 10;
}

/// A header field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Its name in lower case.
    pub name: String,
    /// Its value, decoded as ISO 8859-1 like in the original. It may be a password.
    pub value: Secret,
}

impl ClientFacts {
    /// The value of the field `name`.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name == name).map(|header| header.value.reveal())
    }
}

/// Why a connection is denied a target. Details are in the connector's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The target has refused the connection or not answered in time, or its name has no address.
    Unreachable,
    /// This service has run out of a resource.
    Overloaded,
    /// The ticket is no longer valid: the client may try again with a new connection.
    Stale,
    /// The client has not authenticated, or with wrong credentials.
    Unauthorized,
    /// The client is not authorized.
    Forbidden,
    /// The client has no token.
    NoToken,
    /// The token is unknown.
    UnknownToken,
    /// The source of targets can't be asked, or its answer is invalid.
    LookupFailed,
    /// The client is a page of an origin that is not allowed.
    WrongOrigin,
    /// The authentication plugin can't be asked, or its answer is invalid.
    AuthFailed,
    /// A plugin has rejected the client and says what to answer.
    Answered(Reply),
}

/// The answer of a plugin to a client that it rejects. The gateway checks that it is valid HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The status (RFC 9110 section 15), one of [`Self::STATUSES`].
    pub status: u16,
    /// The reason phrase, if not the usual one.
    pub reason: Option<String>,
    /// Header fields, at most [`Self::MAX_FIELDS`].
    pub headers: Vec<Header>,
}

impl Reply {
    /// Redirections and errors.
    pub const STATUSES: RangeInclusive<u16> = 300..=599;

    /// Largest number of fields.
    pub const MAX_FIELDS: usize = 16;

    /// Largest size of all fields and the reason phrase together, in bytes.
    pub const MAX_BYTES: usize = 4 << 10;
}
