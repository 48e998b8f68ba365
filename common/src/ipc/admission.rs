//! Messages between a gateway, which asks for admission, and the connector, which decides and dials.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConnectionId;
use super::table::messages;
use crate::config::Secret;
use crate::ticket::Ticket;

messages! {
    /// Requests of a gateway to the connector.
    #[derive(PartialEq, Eq)]
    pub enum GatewayToConnector: "gateway" => "connector" {
        /// Requests a target for this connection, at most once for each.
        ADMIT = 1 in Serving: Admit(request: AdmissionRequest),
        /// Requests permission to send a page on this connection. Sent before each page, until one is denied.
        BROWSE = 2 in Serving: Browse(request: AdmissionRequest),
    }
}

messages! {
    /// Answers of the connector to a gateway.
    pub enum ConnectorToGateway: "connector" => "gateway" {
        /// A connection to the session's target.
        CONNECTED = 1 in Serving: Connected {
            /// The connection to which the target is granted.
            id: ConnectionId,
            /// A connected, non-blocking stream socket.
            target: OwnedFd [fd],
            /// Host name of the target, for TLS; `None` for a unix socket.
            host: Option<String>,
            /// Terms of the session that are not those of the instance.
            terms: SessionTerms,
        } lost id,
        /// The page may be sent.
        GRANTED = 2 in Serving: Granted(id: ConnectionId),
        /// The target or the page is refused.
        REFUSED = 3 in Serving: Refused {
            /// The connection that is refused.
            id: ConnectionId,
            /// The reason, limited to what the client may know.
            refusal: Refusal,
        },
        /// The target is not there yet, and the connector dials it again for `GatewaySetup::wait` at most: the client gets
        /// its WebSocket. `Connected` or `Refused` follows.
        WAITING = 4 in Serving: Waiting(id: ConnectionId),
    }
}

/// Terms of a session that its gateway enforces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTerms {
    /// Maximum duration of the session; `None` for unlimited.
    pub lifetime: Option<Duration>,
    /// Time without data after which the session ends; `None` for `timeouts.idle`.
    pub idle: Option<Duration>,
    /// Whether the session is recorded; `None` for what the instance does.
    pub record: Option<bool>,
}

/// A request for admission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmissionRequest {
    /// The ticket of the connection, the only statement about it that the connector trusts.
    pub ticket: Ticket,
    /// Facts about the client, as requested by the connector's inquiry.
    pub facts: ClientFacts,
}

/// Facts about a client's request, according to its gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientFacts {
    /// The client's address according to its proxies, which must be trusted. The port is 0 if they don't tell it.
    pub vouched: Option<SocketAddr>,
    /// The token, if there is one.
    pub token: Option<Secret>,
    /// Requested header fields, the first of each name.
    pub headers: Vec<Header>,
    /// What the client asks for, if hosts or pages are limited.
    pub asked: Option<AskedFor>,
    /// Version of the client's TLS such as `TLSv1.3`, if it uses TLS and that is requested.
    pub tls: Option<String>,
    /// Common name of the client's certificate, if it has presented a valid one.
    pub common_name: Option<String>,
    /// Head of the request, unless it is longer than [`Head::MAX_BYTES`].
    pub head: Option<Head>,
}

/// The host that a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedFor {
    /// The authority of the request's target, else the value of `Host`, which may be a token; `None` if it has neither.
    pub authority: Option<Secret>,
    /// Whether the client uses TLS; `None` if that is unknown, as a proxy may have ended it.
    pub secured: Option<bool>,
}

/// The head of a request, for plugins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Path and query, which may contain a token.
    pub path: Secret,
    /// All header fields except those of the WebSocket handshake, the first of each name.
    pub headers: Vec<Header>,
}

impl Head {
    /// Maximum size of a head that is passed on, in bytes. It determines the maximum length of the message.
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

/// The reason why a client is refused. The connector logs the details.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The target has rejected the connection or not answered in time, or its name has no address.
    Unreachable,
    /// The service is out of a resource.
    Overloaded,
    /// The ticket is no longer valid. The client may try again with a new connection.
    Stale,
    /// The client has presented no credentials, or wrong ones.
    Unauthorized,
    /// The client is authenticated but not permitted.
    Forbidden,
    /// The client has no token.
    NoToken,
    /// The token is unknown.
    UnknownToken,
    /// The token source has failed, or its answer is invalid.
    LookupFailed,
    /// The client is a page of an origin that `ExpectOrigin` does not expect.
    WrongOrigin,
    /// The client is a page of another origin, or asks for a host that is not ours; with the answer's reason.
    NotOurs(String),
    /// The authentication plugin has failed, or its answer is invalid.
    AuthFailed,
    /// A plugin has rejected the client and demands this response.
    Answered(Reply),
    /// The client comes through a proxy, and its source is over a limit or has penalties.
    TurnedAway {
        /// Time after which the client may try again, in seconds.
        retry_after: u32,
    },
}

/// Response to a client that a plugin has rejected. The gateway checks that it is valid HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The status (RFC 9110 section 15), one of [`Self::STATUSES`].
    pub status: u16,
    /// Reason phrase, if it is not the usual one.
    pub reason: Option<String>,
    /// Header fields, at most [`Self::MAX_FIELDS`].
    pub headers: Vec<Header>,
}

impl Reply {
    /// Valid statuses: redirections and errors.
    pub const STATUSES: RangeInclusive<u16> = 300..=599;

    /// Maximum number of header fields.
    pub const MAX_FIELDS: usize = 16;

    /// Maximum size of all header fields and the reason phrase together, in bytes.
    pub const MAX_BYTES: usize = 4 << 10;
}
