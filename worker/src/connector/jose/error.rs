//! The reasons why a token is rejected.

use super::key::MIN_SECRET;

/// An error of a token. The text follows "the token is refused: " in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JoseError {
    /// The token does not consist of three or five parts in base64url.
    #[error("it is neither a JWS nor a JWE in compact serialization")]
    Form,
    /// The header, which is the first part, can't be parsed.
    #[error("its header is not a JSON object with an \"alg\" that is a string")]
    Header,
    /// A header parameter changes the meaning of the rest.
    #[error("its header has {0:?}, which is not supported")]
    Parameter(&'static str),
    /// The algorithm is unknown, or must not be used with a key of this kind.
    #[error("its algorithm {0:?} can't be used with the key, which is {1}")]
    Algorithm(String, &'static str),
    /// The secret is short enough to be guessed.
    #[error("the shared secret is too short: it needs {MIN_SECRET} bytes or more")]
    ShortKey,
    /// The signature was made with another key, or for other data.
    #[error("its signature is not valid")]
    Signature,
    /// The token was encrypted with another key, or modified.
    #[error("it can't be decrypted with the key")]
    Decryption,
    /// The token is encrypted, but its content is not signed.
    #[error("its encrypted content is not a signed token")]
    NotNested,
}

impl JoseError {
    /// An error about an algorithm. The name comes from the token and is repeated only if it looks like one.
    pub(super) fn algorithm(name: &str, key: &'static str) -> Self {
        const LONGEST: usize = 24;
        let is_name = name.len() <= LONGEST
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+'));
        Self::Algorithm(if is_name { name } else { "?" }.to_owned(), key)
    }
}
