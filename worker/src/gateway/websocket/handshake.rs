//! The opening handshake (RFC 6455 section 4), as lenient as the original where that is harmless.

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Versions that browsers have spoken; their frames are alike (RFC 6455 section 4.4 for 13).
const VERSIONS: [&str; 3] = ["13", "8", "7"];

/// So much of an unknown version is repeated.
const MAX_VERSION_DIGITS: usize = 20;

/// 16 bytes in base64.
const KEY_LENGTH: usize = 24;

/// The one sub-protocol there is.
const BINARY: &str = "binary";

/// An opening handshake that is in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    accept: String,
    binary: bool,
}

/// Why a request that asks for a WebSocket gets none. Each is the client's fault, and told in the words of the
/// original where it has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another method than GET. The version may be 1.0, which nginx sends by default, and is answered as 1.1.
    #[error("A WebSocket begins with a GET request")]
    NotGet,
    /// No `Sec-WebSocket-Version`.
    #[error("Missing Sec-WebSocket-Version header")]
    NoVersion,
    /// A version that we don't speak, as far as it is a number.
    #[error("Unsupported protocol version {0}")]
    Version(String),
    /// No `Sec-WebSocket-Key`.
    #[error("Missing Sec-WebSocket-Key header")]
    NoKey,
    /// Not 16 bytes in base64 (RFC 6455 section 4.2.1), or several of them.
    #[error("Malformed Sec-WebSocket-Key header")]
    Key,
    /// Only sub-protocols that we don't speak.
    #[error("Invalid protocol selected")]
    Protocol,
}

impl Refused {
    /// The status to answer with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Version(_) => StatusCode::UPGRADE_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Whether a request asks for a WebSocket at all. As with the original, `Connection: Upgrade` is not
/// asked for: some proxies drop it.
#[must_use]
pub fn is_asked<B>(request: &Request<B>) -> bool {
    tokens(request.headers(), &header::UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket"))
}

/// Checks an opening handshake.
///
/// # Errors
///
/// What is wrong with it.
pub fn check<B>(request: &Request<B>) -> Result<Opening, Refused> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Refused::NotGet);
    }
    let version = headers.get(header::SEC_WEBSOCKET_VERSION).ok_or(Refused::NoVersion)?;
    if !VERSIONS.iter().any(|known| known.as_bytes() == version.as_bytes().trim_ascii()) {
        let digits = version.as_bytes().iter().copied().filter(u8::is_ascii_digit).take(MAX_VERSION_DIGITS);
        return Err(Refused::Version(digits.map(char::from).collect()));
    }
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let key = keys.next().ok_or(Refused::NoKey)?.as_bytes().trim_ascii();
    if keys.next().is_some() || !is_key(key) {
        return Err(Refused::Key);
    }
    let mut offered = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).peekable();
    let binary = offered.peek().is_some();
    if binary && !offered.any(|protocol| protocol == BINARY) {
        return Err(Refused::Protocol);
    }
    Ok(Opening { accept: derive_accept_key(key), binary })
}

impl Opening {
    /// The sub-protocol that was chosen, if any.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&'static str> {
        self.binary.then_some(BINARY)
    }

    /// The answer that opens the WebSocket.
    #[must_use]
    pub fn response<B>(&self, empty: B) -> Response<B> {
        let mut response = Response::new(empty);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        // Base64 is always a header value.
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if self.binary {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(BINARY));
        }
        response
    }
}

/// Whether this is 16 bytes in base64. Bits behind the last byte, which mean nothing, are not looked at.
fn is_key(key: &[u8]) -> bool {
    let bytes: [u8; KEY_LENGTH] = match key.try_into() {
        Ok(bytes) => bytes,
        Err(_) => return false,
    };
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    bytes.ends_with(b"==") && bytes[..KEY_LENGTH - 2].iter().all(digit)
}

/// The elements of a header that holds a list, over all its lines.
pub(crate) fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().uri("/websockify");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    const KEY: (&str, &str) = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    const VERSION: (&str, &str) = ("Sec-WebSocket-Version", "13");

    #[test]
    fn the_example_of_the_standard_is_accepted() {
        let request = request(&[("Upgrade", "WebSocket"), KEY, VERSION]);
        assert!(is_asked(&request));
        let response = check(&request).unwrap().response(());
        assert_eq!(response.headers()[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!response.headers().contains_key(header::SEC_WEBSOCKET_PROTOCOL));
    }

    #[test]
    fn binary_is_chosen_from_any_list() {
        for (list, accepted) in [
            ("binary", true),
            ("foo, binary", true),
            ("foo,binary", true),
            ("chat", false),
            ("base64", false),
            ("Binary", false),
        ] {
            let checked = check(&request(&[KEY, VERSION, ("Sec-WebSocket-Protocol", list)]));
            match checked {
                Ok(opening) => assert!(accepted && opening.binary, "{list}"),
                Err(refused) => assert!(!accepted && refused == Refused::Protocol, "{list}"),
            }
        }
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let cases: [(&[(&str, &str)], Refused); 11] = [
            (&[KEY], Refused::NoVersion),
            (&[VERSION], Refused::NoKey),
            (&[KEY, ("Sec-WebSocket-Version", "12")], Refused::Version("12".into())),
            (&[VERSION, ("Sec-WebSocket-Key", " ")], Refused::Key),
            (&[VERSION, KEY, KEY], Refused::Key),
            (&[VERSION, ("Sec-WebSocket-Key", "x")], Refused::Key),
            (&[VERSION, ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ")], Refused::Key),
            (&[VERSION, ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZTE=")], Refused::Key),
            (&[VERSION, ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZTEx")], Refused::Key),
            (&[VERSION, ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub2_jZQ==")], Refused::Key),
            (&[KEY, ("Sec-WebSocket-Version", "x 1-4")], Refused::Version("14".into())),
        ];
        for (headers, refused) in cases {
            assert_eq!(check(&request(headers)), Err(refused));
        }
    }
}
