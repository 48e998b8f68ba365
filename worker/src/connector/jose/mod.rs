//! JSON Web Tokens (RFC 7519) in compact serialization: signed (JWS, RFC 7515), or encrypted (JWE, RFC 7516)
//! with a signed token inside. The algorithms are those of RFC 7518, RFC 8037 and RFC 8812 that the
//! original's library supports; [`jws`], [`key_management`] and [`content_encryption`] list them.
//!
//! The key determines the possible algorithms, never the token: a public key can't become the secret of an
//! HMAC, and `none` is not an algorithm. Times are checked in [`claims`] only.
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

use compact::{Compact, Jws};
use error::JoseError;
use key::Key;

/// A token whose signature was verified.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The payload, which [`claims`] evaluates.
    pub(crate) payload: Vec<u8>,
    /// Header and payload as they were signed: the part of the token of which there is no other form.
    pub(crate) signed: String,
}

/// Verifies a token with the one key that has signed it, and decrypts it first if it is encrypted.
///
/// An encrypted token must contain a signed one, since everyone who has the public key can encrypt.
///
/// # Errors
///
/// The reason why the token is rejected. Of the token itself, it contains only names of algorithms.
pub(crate) fn open(token: &str, key: &Key) -> Result<Opened, JoseError> {
    match Compact::parse(token)? {
        Compact::Jws(signed) => verified(&signed, key),
        Compact::Jwe(encrypted) => {
            let inner = jwe::decrypt(&encrypted, key)?;
            let inner = std::str::from_utf8(&inner).map_err(|_| JoseError::NotNested)?;
            match Compact::parse(inner) {
                Ok(Compact::Jws(signed)) => verified(&signed, key),
                _ => Err(JoseError::NotNested),
            }
        }
    }
}

fn verified(token: &Jws<'_>, key: &Key) -> Result<Opened, JoseError> {
    let payload = jws::verify(token, key)?;
    Ok(Opened { payload, signed: token.signing_input.to_owned() })
}
