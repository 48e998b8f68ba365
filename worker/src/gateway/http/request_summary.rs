//! The facts of a request that go into the session record. Tokens are never among them.

use common::ipc::request::Request as RequestSummary;
use hyper::Request;
use hyper::header::{self, HeaderName};
use rustls::ServerConnection;

use super::redaction::Redaction;
use crate::gateway::websocket::handshake::Opening;

/// Negotiated parameters of a TLS connection.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct TlsTerms {
    version: Option<String>,
    cipher: Option<String>,
}

impl TlsTerms {
    /// The version as OpenSSL writes it, such as `TLSv1.3`.
    pub(in crate::gateway) fn usual_version(&self) -> Option<String> {
        self.version.as_deref().map(|version| version.replace('_', "."))
    }

    /// The parameters of a connection whose handshake is complete.
    pub(in crate::gateway) fn of(connection: &ServerConnection) -> Self {
        Self {
            version: connection.protocol_version().map(|version| format!("{version:?}")),
            cipher: connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())),
        }
    }
}

/// Summarises `request`, whose opening handshake has been checked.
pub(in crate::gateway) fn request_summary<B>(
    request: &Request<B>,
    opening: &Opening,
    tls: Option<&TlsTerms>,
    redaction: &Redaction,
) -> RequestSummary {
    let field = |name: HeaderName| {
        if !redaction.shows(&name) {
            return None;
        }
        request
            .headers()
            .get(name)
            .map(|value| RequestSummary::text(&String::from_utf8_lossy(value.as_bytes())))
    };
    RequestSummary {
        host: field(header::HOST),
        path: Some(RequestSummary::text(redaction.path_alone(request))),
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
    use common::config::carrier::{Carrier, TokenFrom};
    use common::ipc::setup::Inquiry;

    use super::*;
    use crate::gateway::websocket::handshake;

    fn told(inquiry: &Inquiry) -> RequestSummary {
        let request = Request::builder()
            .uri("/canary/websockify?token=canary")
            .header("Host", "canary.example.com")
            .header("Origin", "https://canary.example.com")
            .header("Referer", "https://canary.example.com/vnc.html?path=?token=canary")
            .header("Cookie", "canary")
            .header("Authorization", "canary")
            .header("User-Agent", format!("canary{}", "x".repeat(1000)))
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .unwrap();
        let opening = handshake::check(&request).unwrap();
        let told = request_summary(&request, &opening, None, &Redaction::of(inquiry));
        assert!(told.fits());
        told
    }

    #[test]
    fn the_summary_omits_what_may_hold_a_token() {
        let all = told(&Inquiry::default());
        assert_eq!(all.path.as_deref(), Some("/canary/websockify"));
        assert_eq!(all.host.as_deref(), Some("canary.example.com"));
        assert_eq!(all.origin.as_deref(), Some("https://canary.example.com"));
        let by_path = told(&Inquiry { token: Some(TokenFrom::default()), ..Inquiry::default() });
        assert_eq!((by_path.path.as_deref(), by_path.host), (Some("/…"), all.host));
        let by_host = told(&Inquiry { token: Some(TokenFrom::only(Carrier::Host)), ..Inquiry::default() });
        assert_eq!((by_host.host, by_host.origin), (None, None));
        assert!(by_host.user_agent.is_some());
        let by_anything = told(&Inquiry { head: true, ..Inquiry::default() });
        assert!(!format!("{by_anything:?}").contains("canary"), "{by_anything:?}");
    }
}
