//! The facts of a request that the connector needs for its decision.

use std::net::SocketAddr;

use common::config::Secret;
use common::config::token::TokenFrom;
use common::ipc::admission::{AskedFor, ClientFacts, Head, Header};
use common::ipc::setup::Inquiry;
use hyper::Request;
use hyper::header::{self, HeaderName, HeaderValue};

use super::request_summary::TlsTerms;

/// Fields of the opening handshake that say nothing about the client. `Sec-WebSocket-Protocol` is not among
/// them, as some clients put secrets there.
const OURS: [HeaderName; 5] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
];

/// Collects the facts that `inquiry` requests. `tls` has the parameters of TLS if the connection uses it, and `vouched` is
/// the address for which proxies vouch.
pub(in crate::gateway) fn client_facts<B>(
    inquiry: &Inquiry,
    request: &Request<B>,
    common_name: Option<&str>,
    tls: Option<&TlsTerms>,
    vouched: Option<SocketAddr>,
) -> ClientFacts {
    let header = |name: &String| {
        let value = latin(request.headers().get(name)?.as_bytes());
        Some(Header { name: name.clone(), value })
    };
    let token = inquiry.token.and_then(|from| match from {
        TokenFrom::Path => token_in_query(request.uri().query().unwrap_or_default()),
        TokenFrom::Host => {
            request.headers().get(header::HOST).and_then(|host| token_in_host(host.as_bytes()))
        }
    });
    ClientFacts {
        vouched,
        token: token.map(Secret::new),
        headers: inquiry.headers.iter().filter_map(header).collect(),
        asked: inquiry.site.then(|| asked_for(request, tls.is_some())),
        tls: tls.filter(|_| inquiry.tls).and_then(TlsTerms::usual_version),
        common_name: common_name.map(str::to_owned),
        head: if inquiry.head { head(request) } else { None },
    }
}

/// The host that is asked for. The authority of the target takes precedence over `Host` (RFC 9112 section 3.2.2).
fn asked_for<B>(request: &Request<B>, secured: bool) -> AskedFor {
    let authority = match request.uri().authority() {
        Some(authority) => Some(authority.as_str().as_bytes()),
        None => request.headers().get(header::HOST).map(HeaderValue::as_bytes),
    };
    AskedFor { authority: authority.map(latin), secured: secured.then_some(true) }
}

/// Decodes ISO 8859-1.
fn latin(value: &[u8]) -> Secret {
    Secret::new(value.iter().copied().map(char::from).collect())
}

/// The head of a request, or `None` if it is longer than [`Head::MAX_BYTES`].
fn head<B>(request: &Request<B>) -> Option<Head> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let mut length = path.len();
    let mut headers = Vec::new();
    for name in request.headers().keys() {
        if OURS.contains(name) {
            continue;
        }
        let value = request.headers().get(name)?.as_bytes();
        // A character of ISO 8859-1 takes up to two bytes in UTF-8. The constant covers the length prefixes.
        length += name.as_str().len() + 2 * value.len() + 8;
        headers.push(Header { name: name.as_str().to_owned(), value: latin(value) });
    }
    (length <= Head::MAX_BYTES).then(|| Head { path: Secret::new(path.to_owned()), headers })
}

/// Returns the first non-empty value of `token`, decoded like a field of an HTML form and without trailing
/// line feeds, as in the original.
fn token_in_query(query: &str) -> Option<String> {
    let mut fields = form_urlencoded::parse(query.as_bytes());
    let (_, token) = fields.find(|(name, value)| name == "token" && !value.is_empty())?;
    Some(token.trim_end_matches('\n').to_owned())
}

/// Returns the host without its port. The original cuts at the first colon, even within an IPv6 address.
fn token_in_host(host: &[u8]) -> Option<String> {
    let host = std::str::from_utf8(host).ok()?.trim();
    let end = if host.starts_with('[') { host.find(']').map(|at| at + 1) } else { host.find(':') };
    Some(host.get(..end.unwrap_or(host.len()))?.to_owned()).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_path_is_read_as_in_the_original() {
        for (query, token) in [
            ("token=abc", Some("abc")),
            ("x=1&token=abc&y=2", Some("abc")),
            ("token=a&token=b", Some("a")),
            ("token=&token=b", Some("b")),
            ("token=a+b%20c%26", Some("a b c&")),
            ("token=%C3%BC", Some("ü")),
            ("t%6fken=abc", Some("abc")),
            ("token=abc%0A%0a", Some("abc")),
            ("token=%0A", Some("")),
            ("token=a=b", Some("a=b")),
            ("token=a;x=1", Some("a;x=1")),
            ("token=%ff", Some("\u{fffd}")),
            ("token=", None),
            ("token", None),
            ("Token=abc", None),
            ("", None),
        ] {
            assert_eq!(token_in_query(query).as_deref(), token, "{query}");
        }
    }

    #[test]
    fn a_host_is_a_token_without_its_port() {
        for (host, token) in [
            ("a.example", Some("a.example")),
            ("a.example:6080", Some("a.example")),
            ("[::1]:6080", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("[::1", Some("[::1")),
            (":6080", None),
            ("", None),
        ] {
            assert_eq!(token_in_host(host.as_bytes()).as_deref(), token, "{host}");
        }
    }
}
