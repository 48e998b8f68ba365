//! Errors of authentication.

use common::ipc::admission::Reply;

/// The reason why a client is rejected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::connector) enum AuthError {
    /// Missing or wrong credentials: the client is challenged (RFC 9110 section 15.5.2).
    #[error("{0}")]
    Unauthorized(&'static str),
    /// Other credentials would not help (RFC 9110 section 15.5.4).
    #[error("{0}")]
    Forbidden(String),
    /// The origin of the page is not allowed.
    #[error("{0}")]
    Origin(String),
    /// An external plugin rejects the client, and may say what to answer.
    #[error("the plugin refuses: {0}")]
    Refused(String, Option<Reply>),
    /// Too many passwords wait to be verified: not the client's fault.
    #[error("cannot authenticate a client: too many passwords wait to be verified")]
    Busy,
    /// A plugin has failed, or its answer is invalid: not the client's fault.
    #[error("cannot authenticate a client: the plugin: {0}")]
    Failed(String),
}
