//! Services and plugins that the connector queries, and how to reach them.

use serde::{Deserialize, Serialize};

use crate::addr::TargetAddr;
use crate::config::Secret;

/// Address of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Host and port, or a unix socket.
    pub address: TargetAddr,
    /// Use TLS and trust these authorities (DER); `None` for no TLS.
    pub authorities: Option<Vec<Vec<u8>>>,
}

/// A lookup in Redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisLookup {
    /// The server.
    pub service: Service,
    /// Number of the database.
    pub db: i64,
    /// Password, if there is one.
    pub password: Option<Secret>,
    /// Prefix of each key, separated from the token by a colon.
    pub namespace: Option<String>,
}

/// A lookup through an HTTP API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiLookup {
    /// The server.
    pub service: Service,
    /// Value of the `Host` header.
    pub authority: String,
    /// `user:password`.
    pub credentials: Option<Secret>,
    /// Path and query before the token. It may contain an API key.
    pub before: Secret,
    /// Path and query after the token.
    pub after: Secret,
    /// Format of the response.
    pub answer: ApiAnswer,
}

/// Format of an API's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiAnswer {
    /// `host:port`.
    Text,
    /// A JSON object with `host` and `port`.
    Json,
}

/// How to reach an external plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PluginLink {
    /// A program. The supervisor starts it and passes the connection.
    Program,
    /// A service that exchanges lines of JSON.
    Lines(Service),
    /// A service that accepts POST requests.
    Http {
        /// The server.
        service: Service,
        /// Value of the `Host` header.
        authority: String,
        /// Path and query. It may contain a key.
        path: Secret,
    },
}

/// The decision that an external plugin makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PluginKind {
    /// The targets of tokens.
    Targets,
    /// Admission of clients: index in [`super::setup::ConnectorSetup::auth`].
    Admission(u16),
}
