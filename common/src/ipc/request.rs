//! The request of a client, as reported by its gateway for the session record.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConnectionId;

/// The request that has opened a session. Clients choose most of its content, which must be escaped before it
/// is displayed. Each text has at most [`Request::MAX_TEXT`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// `Host`.
    pub host: Option<String>,
    /// The path without its query, which may contain a token.
    pub path: Option<String>,
    /// `Origin`.
    pub origin: Option<String>,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// The selected sub-protocol.
    pub subprotocol: Option<String>,
    /// Version of TLS, if it is used.
    pub tls_version: Option<String>,
    /// Cipher suite of TLS.
    pub tls_cipher: Option<String>,
    /// Common name of the client's certificate.
    pub client_certificate: Option<String>,
    /// Time from the acceptance of the connection to the response.
    pub handshake: Option<Duration>,
}

/// The request of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// The connection.
    pub id: ConnectionId,
    /// Its request.
    pub request: Request,
}

impl Request {
    /// Maximum length of a text in bytes.
    pub const MAX_TEXT: usize = 256;

    /// Truncates a text to the maximum length, between characters.
    #[must_use]
    pub fn text(text: &str) -> String {
        let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= Self::MAX_TEXT;
        text.char_indices().take_while(fits).map(|(_, c)| c).collect()
    }

    /// Whether no text exceeds the maximum length.
    #[must_use]
    pub fn fits(&self) -> bool {
        let Self { host, path, origin, user_agent, subprotocol, tls_version, tls_cipher, .. } = self;
        [host, path, origin, user_agent, subprotocol, tls_version, tls_cipher, &self.client_certificate]
            .iter()
            .all(|text| text.as_ref().is_none_or(|text| text.len() <= Self::MAX_TEXT))
    }
}

impl Requested {
    /// Maximum number in a message.
    pub const MAX_BATCH: usize = 7;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = Request::text(&"ü".repeat(200));
        assert_eq!(text, "ü".repeat(128));
        assert!(Request { path: Some(text.clone()), ..Request::default() }.fits());
        assert!(!Request { path: Some(text + "x"), ..Request::default() }.fits());
    }
}
