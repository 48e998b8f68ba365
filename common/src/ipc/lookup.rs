//! What the connector asks others for a target: where they are, and how to ask them.

use serde::{Deserialize, Serialize};

use crate::addr::TargetAddr;
use crate::config::Secret;

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Host and port, or a unix socket.
    pub address: TargetAddr,
    /// Speak TLS, and trust these authorities (DER).
    pub authorities: Option<Vec<Vec<u8>>>,
}

/// How to ask Redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisLookup {
    /// The server.
    pub service: Service,
    /// Number of the database.
    pub db: i64,
    /// Its password.
    pub password: Option<Secret>,
    /// Stands before each token, with a colon between them.
    pub namespace: Option<String>,
}

/// How to ask an API over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiLookup {
    /// The server.
    pub service: Service,
    /// For the `Host` header.
    pub authority: String,
    /// `user:password`.
    pub credentials: Option<Secret>,
    /// Path and query up to the token. May hold a key of the API.
    pub before: Secret,
    /// What follows the token.
    pub after: Secret,
    /// What it answers with.
    pub answer: ApiAnswer,
}

/// The form of an API's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiAnswer {
    /// `host:port`.
    Text,
    /// A JSON object with `host` and `port`.
    Json,
}

/// How to ask a plugin of the administrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PluginLink {
    /// A program, whose connection the supervisor passes.
    Program,
    /// Lines of JSON to a service.
    Lines(Service),
    /// POST requests.
    Http {
        /// The server.
        service: Service,
        /// For the `Host` header.
        authority: String,
        /// Path and query. May hold a key.
        path: Secret,
    },
}

/// What a plugin of the administrator decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PluginKind {
    /// Where tokens lead.
    Targets,
    /// Who is let in: its place among [`super::setup::ConnectorSetup::auth`].
    Admission(u16),
}
