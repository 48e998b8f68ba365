//! The compact serialization (RFC 7515 section 7.1, RFC 7516 section 7.1).

use common::json;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::error::JoseError;

/// A token split into its parts.
pub(super) enum Compact<'a> {
    /// A signed token, of three parts.
    Jws(Jws<'a>),
    /// An encrypted token, of five parts.
    Jwe(Jwe<'a>),
}

/// A signed token.
pub(super) struct Jws<'a> {
    pub(super) header: Header,
    /// Header and payload as received: the input of the signature.
    pub(super) signing_input: &'a str,
    pub(super) payload: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

/// An encrypted token.
pub(super) struct Jwe<'a> {
    pub(super) header: Header,
    /// The header as received, which the authentication tag covers.
    pub(super) additional_data: &'a str,
    pub(super) encrypted_key: Vec<u8>,
    pub(super) iv: Vec<u8>,
    pub(super) ciphertext: Vec<u8>,
    pub(super) tag: Vec<u8>,
}

/// The header parameters that are evaluated. Others are ignored.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) enc: Option<String>,
    /// Critical extensions (RFC 7515 section 4.1.11), none of which is supported.
    crit: Option<serde_json::Value>,
    /// Compression (RFC 7516 section 4.1.3), which is not supported as a short token could expand to a long
    /// one.
    zip: Option<serde_json::Value>,
}

impl<'a> Compact<'a> {
    /// Splits a token. Nothing in it is verified yet.
    pub(super) fn parse(token: &'a str) -> Result<Self, JoseError> {
        let mut parts = token.split('.');
        let mut next = || parts.next().ok_or(JoseError::Form);
        let (first, second, third) = (next()?, next()?, next()?);
        let Ok(fourth) = next() else {
            let signing_input = token.rsplit_once('.').ok_or(JoseError::Form)?.0;
            return Ok(Self::Jws(Jws {
                header: header(first)?,
                signing_input,
                payload: decoded(second)?,
                signature: decoded(third)?,
            }));
        };
        let fifth = next()?;
        if next().is_ok() {
            return Err(JoseError::Form);
        }
        Ok(Self::Jwe(Jwe {
            header: header(first)?,
            additional_data: first,
            encrypted_key: decoded(second)?,
            iv: decoded(third)?,
            ciphertext: decoded(fourth)?,
            tag: decoded(fifth)?,
        }))
    }
}

fn header(part: &str) -> Result<Header, JoseError> {
    let header: Header = json::object(&decoded(part)?).map_err(|_| JoseError::Header)?;
    if header.crit.is_some() {
        return Err(JoseError::Parameter("crit"));
    }
    if header.zip.is_some() {
        return Err(JoseError::Parameter("zip"));
    }
    Ok(header)
}

fn decoded(part: &str) -> Result<Vec<u8>, JoseError> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| JoseError::Form)
}
