//! Why a token leads to no target.

use super::address::AddressError;

/// Why a token leads to no target.
#[derive(Debug, thiserror::Error)]
pub(in crate::connector) enum LookupError {
    /// The token is unknown: the client's fault. In the words of the original, but for the token.
    #[error("Token '…' not found")]
    NotFound,
    /// The token is invalid: the client's fault, too.
    #[error("the token is refused: {0}")]
    Refused(String),
    /// The source fails, or its answer makes no sense: not the client's fault.
    #[error("cannot look up the target of a token: {0}")]
    Failed(String),
}

impl From<AddressError> for LookupError {
    fn from(error: AddressError) -> Self {
        Self::Failed(format!("the target has {error}"))
    }
}
