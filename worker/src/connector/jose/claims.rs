//! What a token claims (RFC 7519 section 4): until when it may be used, and for which target.

use std::time::{SystemTime, UNIX_EPOCH};

use common::json;
use serde::{Deserialize, Deserializer};

/// The claims that matter here.
#[derive(Deserialize)]
struct Claims {
    host: Option<String>,
    port: Option<Port>,
    #[serde(default, deserialize_with = "number")]
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "number")]
    exp: Option<f64>,
}

/// A time that is there but no number, such as `null`, must not count as a time that is not there.
fn number<'de, D: Deserializer<'de>>(value: D) -> Result<Option<f64>, D::Error> {
    f64::deserialize(value).map(Some)
}

/// A number, or a text with one. With the host `unix_socket` the path of a socket, as in the original.
#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u64),
    Text(String),
}

/// What is wrong with claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimsError {
    /// Not JSON, or claims of another kind.
    #[error(
        "its claims are no JSON object whose \"host\" is a string, whose \"port\" is a string or a number, \
         and whose \"nbf\" and \"exp\" are numbers"
    )]
    Form,
    /// `host` or `port` is absent or malformed.
    #[error("it has no claim {0:?}")]
    Missing(&'static str),
    /// `nbf` lies ahead.
    #[error("it can not be used yet")]
    Early,
    /// `exp` has passed.
    #[error("it has expired")]
    Expired,
}

/// Host and port of the target that `payload` claims, if it may be used at this time. There is no leeway, as
/// in the original.
pub(crate) fn target(payload: &[u8], now: SystemTime) -> Result<(String, String), ClaimsError> {
    let claims: Claims = json::object(payload).map_err(|_| ClaimsError::Form)?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    if claims.nbf.is_some_and(|nbf| now < nbf) {
        return Err(ClaimsError::Early);
    }
    if claims.exp.is_some_and(|exp| now > exp) {
        return Err(ClaimsError::Expired);
    }
    let host = claims.host.ok_or(ClaimsError::Missing("host"))?;
    let port = match claims.port.ok_or(ClaimsError::Missing("port"))? {
        Port::Number(port) => port.to_string(),
        Port::Text(port) => port,
    };
    Ok((host, port))
}
