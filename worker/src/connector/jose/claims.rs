//! The claims of a token (RFC 7519 section 4): its validity period, its target, and its policy.

use std::time::{SystemTime, UNIX_EPOCH};

use common::json;
use common::tokens::nested::NestedPolicy;
use serde::{Deserialize, Deserializer};

/// The claims that are evaluated, as they are written.
#[derive(Deserialize)]
struct Written {
    host: Option<String>,
    port: Option<Port>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "present")]
    exp: Option<f64>,
    #[serde(default, deserialize_with = "present")]
    websockify: Option<NestedPolicy>,
}

/// Rejects a claim that is there and of another type, such as `null`, which must not count as absent.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// The claims of a valid token.
#[derive(Debug)]
pub(crate) struct Claims {
    /// Host and port of the target; `None` if the policy has targets of its own.
    pub(crate) pair: Option<(String, String)>,
    /// When the token expires, in seconds since 1970.
    pub(crate) exp: Option<f64>,
    /// The claim `websockify`.
    pub(crate) policy: Option<NestedPolicy>,
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
         whose \"nbf\" and \"exp\" are numbers, and whose \"websockify\" is an object"
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

/// Reads the claims of a token that is valid at the time `now`. There is no leeway, as in the original.
pub(crate) fn read(payload: &[u8], now: SystemTime) -> Result<Claims, ClaimsError> {
    let claims: Written = json::object(payload).map_err(|_| ClaimsError::Form)?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    if claims.nbf.is_some_and(|nbf| now < nbf) {
        return Err(ClaimsError::Early);
    }
    if claims.exp.is_some_and(|exp| now > exp) {
        return Err(ClaimsError::Expired);
    }
    let Written { host, port, exp, websockify: policy, .. } = claims;
    let is_led_by_policy = policy.as_ref().is_some_and(NestedPolicy::has_target);
    let pair = match (host, port) {
        (Some(host), Some(Port::Number(port))) => Some((host, port.to_string())),
        (Some(host), Some(Port::Text(port))) => Some((host, port)),
        _ if is_led_by_policy => None,
        (None, _) => return Err(ClaimsError::Missing("host")),
        (Some(_), None) => return Err(ClaimsError::Missing("port")),
    };
    Ok(Claims { pair, exp, policy })
}
