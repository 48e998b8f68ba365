//! What a client has asked for, as its gateway tells it for the record of the session.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConnectionId;

/// The request that has opened a session. Clients choose most of this: escape it before a human sees it.
/// Each text has at most [`Request::MAX_TEXT`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// `Host`.
    pub host: Option<String>,
    /// The path without its query, which may hold a token.
    pub path: Option<String>,
    /// `Origin`.
    pub origin: Option<String>,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// The sub-protocol that was chosen.
    pub subprotocol: Option<String>,
    /// The version of TLS, if it is used.
    pub tls_version: Option<String>,
    /// Its cipher suite.
    pub tls_cipher: Option<String>,
    /// The common name of the client's certificate.
    pub client_certificate: Option<String>,
    /// From the client's first byte, or before, to the answer.
    pub handshake: Option<Duration>,
}

/// Which connection has asked for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// Which.
    pub id: ConnectionId,
    /// For what.
    pub request: Request,
}

impl Request {
    /// Longest text, bytes.
    pub const MAX_TEXT: usize = 256;

    /// A text that fits: a longer one is cut between characters.
    #[must_use]
    pub fn text(text: &str) -> String {
        let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= Self::MAX_TEXT;
        text.char_indices().take_while(fits).map(|(_, c)| c).collect()
    }

    /// Whether every text fits.
    #[must_use]
    pub fn fits(&self) -> bool {
        let Self { host, path, origin, user_agent, subprotocol, tls_version, tls_cipher, .. } = self;
        [host, path, origin, user_agent, subprotocol, tls_version, tls_cipher, &self.client_certificate]
            .iter()
            .all(|text| text.as_ref().is_none_or(|text| text.len() <= Self::MAX_TEXT))
    }
}

impl Requested {
    /// So many fit into a message.
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
