//! The opening handshake (RFC 6455 section 4). It is as lenient as the original where that is harmless.

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Supported protocol versions: 13 (RFC 6455 section 4.4) and two drafts that browsers have used, with the
/// same frames.
const VERSIONS: [&str; 3] = ["13", "8", "7"];

/// Maximum number of digits of an unsupported version that are repeated in the response.
const MAX_VERSION_DIGITS: usize = 20;

/// Length of 16 bytes in base64.
const KEY_LENGTH: usize = 24;

/// The only supported sub-protocol.
const BINARY: &str = "binary";

/// A valid opening handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    accept: String,
    binary: bool,
}

/// The reason why a request for a WebSocket is rejected. All are faults of the client, and the texts are
/// those of the original where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The method is not GET. HTTP/1.0, which nginx sends by default, is accepted and answered as HTTP/1.1.
    #[error("A WebSocket begins with a GET request")]
    NotGet,
    /// No `Sec-WebSocket-Version`.
    #[error("Missing Sec-WebSocket-Version header")]
    NoVersion,
    /// Unsupported version, reduced to its digits.
    #[error("Unsupported protocol version {0}")]
    Version(String),
    /// No `Sec-WebSocket-Key`.
    #[error("Missing Sec-WebSocket-Key header")]
    NoKey,
    /// The key is not 16 bytes in base64 (RFC 6455 section 4.2.1), or occurs several times.
    #[error("Malformed Sec-WebSocket-Key header")]
    Key,
    /// None of the requested sub-protocols is supported.
    #[error("Invalid protocol selected")]
    Protocol,
}

impl Refused {
    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Version(_) => StatusCode::UPGRADE_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Whether a request asks for a WebSocket. As in the original, `Connection: Upgrade` is not required: some
/// proxies drop it.
#[must_use]
pub fn is_asked<B>(request: &Request<B>) -> bool {
    tokens(request.headers(), &header::UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket"))
}

/// Validates an opening handshake.
///
/// # Errors
///
/// The reason why it is rejected.
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
    /// The selected sub-protocol, if there is one.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&'static str> {
        self.binary.then_some(BINARY)
    }

    /// The response that opens the WebSocket.
    #[must_use]
    pub fn response<B>(&self, empty: B) -> Response<B> {
        let mut response = Response::new(empty);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        // Never fails: base64 is a valid header value.
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if self.binary {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(BINARY));
        }
        response
    }
}

/// Whether `key` is 16 bytes in base64. Unused bits of the last character are ignored.
fn is_key(key: &[u8]) -> bool {
    let bytes: [u8; KEY_LENGTH] = match key.try_into() {
        Ok(bytes) => bytes,
        Err(_) => return false,
    };
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    bytes.ends_with(b"==") && bytes[..KEY_LENGTH - 2].iter().all(digit)
}

/// Iterates over the elements of a list header, across all its lines.
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
