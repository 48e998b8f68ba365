//! Why a client is not let in.

use common::ipc::admission::Reply;

/// Why a client is not let in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::connector) enum AuthError {
    /// No credentials, or wrong ones: the client is challenged (RFC 9110 section 15.5.2).
    #[error("{0}")]
    Unauthorized(&'static str),
    /// Other credentials would not help (RFC 9110 section 15.5.4).
    #[error("{0}")]
    Forbidden(String),
    /// It comes from a page that is not expected.
    #[error("{0}")]
    Origin(String),
    /// An external plugin refuses it, and may say what to answer.
    #[error("the plugin refuses: {0}")]
    Refused(String, Option<Reply>),
    /// A plugin fails, or its answer makes no sense: not the client's fault.
    #[error("cannot ask whether a client is let in: the plugin: {0}")]
    Failed(String),
}
