//! What the supervisor is told about a request, for the record of its session. No token is among it: the
//! query is left out, and with tokens in host names the host.

use common::ipc::request::Request as RequestSummary;
use hyper::Request;
use hyper::header::{self, HeaderName};
use rustls::ServerConnection;

use crate::gateway::websocket::handshake::Opening;

/// What was agreed upon in a TLS handshake.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct TlsTerms {
    version: Option<String>,
    cipher: Option<String>,
}

impl TlsTerms {
    /// The terms of a connection whose handshake is done.
    pub(in crate::gateway) fn of(connection: &ServerConnection) -> Self {
        Self {
            version: connection.protocol_version().map(|version| format!("{version:?}")),
            cipher: connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())),
        }
    }
}

/// What to tell of `request`, which `opening` has found in order.
pub(in crate::gateway) fn request_summary<B>(
    request: &Request<B>,
    opening: &Opening,
    tls: Option<&TlsTerms>,
    host_is_token: bool,
) -> RequestSummary {
    let field = |name: HeaderName| {
        request
            .headers()
            .get(name)
            .map(|value| RequestSummary::text(&String::from_utf8_lossy(value.as_bytes())))
    };
    RequestSummary {
        host: if host_is_token { None } else { field(header::HOST) },
        path: Some(RequestSummary::text(request.uri().path())),
        origin: field(header::ORIGIN),
        user_agent: field(header::USER_AGENT),
        subprotocol: opening.subprotocol().map(str::to_owned),
        tls_version: tls.and_then(|tls| tls.version.clone()),
        tls_cipher: tls.and_then(|tls| tls.cipher.clone()),
        ..RequestSummary::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::websocket::handshake;

    #[test]
    fn no_token_is_told() {
        let request = Request::builder()
            .uri("/websockify?token=secret")
            .header("Host", "secret.example.com")
            .header("User-Agent", "x".repeat(1000))
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .unwrap();
        let opening = handshake::check(&request).unwrap();
        let all = request_summary(&request, &opening, None, true);
        assert!(all.fits() && !format!("{all:?}").contains("secret"), "{all:?}");
        assert_eq!(all.path.as_deref(), Some("/websockify"));
        let host = request_summary(&request, &opening, None, false).host;
        assert_eq!(host.as_deref(), Some("secret.example.com"));
    }
}
