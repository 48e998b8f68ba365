//! Why a token leads to no target.

use super::address::AddressError;

/// Why a token leads to no target.
#[derive(Debug, thiserror::Error)]
pub(in crate::connector) enum LookupError {
    /// Nothing is known of it: the client's fault. In the words of the original, but for the token.
    #[error("Token '…' not found")]
    NotFound,
    /// It proves nothing: the client's fault, too.
    #[error("the token is refused: {0}")]
    Refused(String),
    /// The plugin can't say, or what it says makes no sense: ours, or the administrator's.
    #[error("cannot look up the target of a token: {0}")]
    Failed(String),
}

impl From<AddressError> for LookupError {
    fn from(error: AddressError) -> Self {
        Self::Failed(format!("the target has {error}"))
    }
}
