//! The claims of a token (RFC 7519 section 4): its validity period and its target.

use std::time::{SystemTime, UNIX_EPOCH};

use common::json;
use serde::{Deserialize, Deserializer};

/// The claims that are evaluated.
#[derive(Deserialize)]
struct Claims {
    host: Option<String>,
    port: Option<Port>,
    #[serde(default, deserialize_with = "number")]
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "number")]
    exp: Option<f64>,
}

/// Rejects a time that is present but not a number, such as `null`, which must not count as absent.
fn number<'de, D: Deserializer<'de>>(value: D) -> Result<Option<f64>, D::Error> {
    f64::deserialize(value).map(Some)
}

/// The claim `port`: a number, or a string with one. With the host `unix_socket` it is the path of a socket,
/// as in the original.
#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u64),
    Text(String),
}

/// The reason why the claims are rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimsError {
    /// The payload is not JSON, or a claim has the wrong type.
    #[error(
        "its claims are not a JSON object whose \"host\" is a string, whose \"port\" is a string or a number, \
         and whose \"nbf\" and \"exp\" are numbers"
    )]
    Form,
    /// `host` or `port` is absent or malformed.
    #[error("it has no claim {0:?}")]
    Missing(&'static str),
    /// `nbf` is in the future.
    #[error("it can't be used yet")]
    Early,
    /// `exp` is in the past.
    #[error("it has expired")]
    Expired,
}

/// Returns host and port of the target, if the token is valid at the time `now`. There is no leeway, as in
/// the original.
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
