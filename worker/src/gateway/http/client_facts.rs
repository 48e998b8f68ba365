//! The facts of a request that the connector needs for its decision.

use std::net::SocketAddr;

use common::config::Secret;
use common::ipc::admission::{AskedFor, ClientFacts, Head, Header};
use common::ipc::setup::Inquiry;
use hyper::Request;
use hyper::header::{self, HeaderName, HeaderValue};

use super::request_summary::TlsTerms;
use super::token::{self, SeveralTokens};

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
///
/// # Errors
///
/// If the request has different tokens.
pub(in crate::gateway) fn client_facts<B>(
    inquiry: &Inquiry,
    request: &Request<B>,
    common_name: Option<&str>,
    tls: Option<&TlsTerms>,
    vouched: Option<SocketAddr>,
) -> Result<ClientFacts, SeveralTokens> {
    let header = |name: &String| {
        let value = latin(request.headers().get(name)?.as_bytes());
        Some(Header { name: name.clone(), value })
    };
    let token = inquiry.token.as_ref().map(|from| token::find(from, request)).transpose()?.flatten();
    Ok(ClientFacts {
        vouched,
        token: token.map(Secret::new),
        headers: inquiry.headers.iter().filter_map(header).collect(),
        asked: inquiry.site.then(|| asked_for(request, tls.is_some())),
        tls: tls.filter(|_| inquiry.tls).and_then(TlsTerms::usual_version),
        common_name: common_name.map(str::to_owned),
        head: if inquiry.head { head(request) } else { None },
    })
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
