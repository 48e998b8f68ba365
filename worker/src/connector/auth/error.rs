//! Why a client is not let in.

use common::ipc::admission::Reply;

/// Why a client may not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::connector) enum AuthError {
    /// It has not said who it is, or not rightly: it is to be asked (RFC 9110 section 15.5.2).
    #[error("{0}")]
    Unauthorized(&'static str),
    /// Asking would not help (RFC 9110 section 15.5.4).
    #[error("{0}")]
    Forbidden(String),
    /// It comes from a page that is not expected.
    #[error("{0}")]
    Origin(String),
    /// A plugin of the administrator's own says so, and perhaps what to answer.
    #[error("the plugin refuses: {0}")]
    Refused(String, Option<Reply>),
    /// A plugin can't say, or what it says makes no sense: ours, or the administrator's.
    #[error("cannot ask whether a client is let in: the plugin: {0}")]
    Failed(String),
}
