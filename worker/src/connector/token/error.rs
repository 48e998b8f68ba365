//! Errors of token lookups.

use common::tokens::address::AddressError;
use common::tokens::nested::Unenforceable;
use common::tokens::policy::Unmet;

/// The reason why a token leads to no target.
#[derive(Debug, thiserror::Error)]
pub(in crate::connector) enum LookupError {
    /// The token is unknown: the client's fault. The words are those of the original, without the token.
    #[error("Token '…' not found")]
    NotFound,
    /// The token is invalid: the client's fault as well.
    #[error("the token is refused: {0}")]
    Refused(String),
    /// The source has failed or its answer is invalid: not the client's fault.
    #[error("cannot look up the target of a token: {0}")]
    Failed(String),
}

impl From<Unmet> for LookupError {
    fn from(unmet: Unmet) -> Self {
        match unmet {
            Unmet::Recording => Self::Failed(unmet.to_string()),
            _ => Self::Refused(unmet.to_string()),
        }
    }
}

impl From<Unenforceable> for LookupError {
    fn from(error: Unenforceable) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<AddressError> for LookupError {
    fn from(error: AddressError) -> Self {
        Self::Failed(format!("the target has {error}"))
    }
}
