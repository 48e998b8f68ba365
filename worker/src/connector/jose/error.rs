//! Why a token is not to be believed.

use super::key::MIN_SECRET;

/// What is wrong with a token. Texts are for the log, where they follow "the token is refused: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JoseError {
    /// Not three or five parts in base64url.
    #[error("it is neither a JWS nor a JWE in compact serialization")]
    Form,
    /// The header, which is the first part.
    #[error("its header is no JSON object with an \"alg\" that is a string")]
    Header,
    /// A header parameter that changes the meaning of the rest.
    #[error("its header has {0:?}, which is not supported")]
    Parameter(&'static str),
    /// Unknown, or one that must not be used with such a key.
    #[error("its algorithm {0:?} can't be used with the key, which is {1}")]
    Algorithm(String, &'static str),
    /// It could be found by trying.
    #[error("the shared secret is too short: it needs {MIN_SECRET} bytes or more")]
    ShortKey,
    /// The signature was made with another key, or for other bytes.
    #[error("its signature does not fit")]
    Signature,
    /// It was encrypted with another key, or changed.
    #[error("it can't be decrypted with the key")]
    Decryption,
    /// The token is encrypted, but not signed.
    #[error("what it holds encrypted is not a signed token")]
    NotNested,
}

impl JoseError {
    /// The algorithm's name comes from the token: only what looks like such a name is repeated.
    pub(super) fn algorithm(name: &str, key: &'static str) -> Self {
        const LONGEST: usize = 24;
        let is_name = name.len() <= LONGEST
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+'));
        Self::Algorithm(if is_name { name } else { "?" }.to_owned(), key)
    }
}
