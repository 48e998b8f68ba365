//! JSON Web Tokens (RFC 7519) in compact serialization: signed ones (JWS, RFC 7515), and encrypted ones
//! (JWE, RFC 7516) with a signed one inside. The algorithms are those of RFC 7518, RFC 8037 and RFC 8812 that
//! the original's library takes, as far as they are listed in [`jws`], [`key_management`] and
//! [`content_encryption`].
//!
//! The key decides which algorithms are possible, never the token: a key that is public can't become the
//! secret of an HMAC, and `none` is no algorithm. Nothing here knows about time; see [`claims`].
#![forbid(unsafe_code)]

pub(crate) mod claims;
mod compact;
mod content_encryption;
mod error;
mod jwe;
mod jws;
pub(crate) mod key;
mod key_management;
#[cfg(test)]
mod key_tests;
mod key_wrap;
mod material;
#[cfg(test)]
mod tests;

use compact::Compact;
use error::JoseError;
use key::Key;

/// Opens a token with the one key that signed, and perhaps encrypted, it. Gives its payload, which is still to
/// be read as claims.
///
/// What was encrypted must be signed as well: whoever has a public key can encrypt.
///
/// # Errors
///
/// Why the token is not to be believed. The reason contains nothing of the token but the names of its
/// algorithms.
pub(crate) fn open(token: &str, key: &Key) -> Result<Vec<u8>, JoseError> {
    match Compact::parse(token)? {
        Compact::Jws(signed) => jws::verify(&signed, key),
        Compact::Jwe(encrypted) => {
            let inner = jwe::decrypt(&encrypted, key)?;
            let inner = std::str::from_utf8(&inner).map_err(|_| JoseError::NotNested)?;
            match Compact::parse(inner) {
                Ok(Compact::Jws(signed)) => jws::verify(&signed, key),
                _ => Err(JoseError::NotNested),
            }
        }
    }
}
