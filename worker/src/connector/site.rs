//! The hosts and the pages of the instance: which host a client may ask for, and which page may open a session.
//!
//! This prevents pages of other origins from using a browser's way to us, its passwords and certificates. Clients
//! other than browsers name no origin, or any.

use common::config::Secret;
use common::config::site::{Authority, Origin};
use common::ipc::setup::SiteTerms;

use super::client_request::{ClientRequest, RequestKind};

/// Maximum length of a host or origin in messages, in characters.
const MAX_SHOWN: usize = 80;

/// Replaces a host or origin that may contain a token.
const HIDDEN: &str = "…";

/// The hosts and the pages.
#[derive(Debug)]
pub(super) struct Site(SiteTerms);

/// The reason why a client is refused, and which key to set if it should not be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotOurs {
    /// The client asks for another host.
    #[error("asks for host '{asked}', which is not in `hosts`")]
    Host {
        /// The host, as it may be shown.
        asked: String,
    },
    /// A page of another origin.
    #[error(
        "a page of origin '{origin}' asks for host '{asked}', which is another one; to allow such pages, add their \
         origin to `web.origins`"
    )]
    Origin {
        /// The origin, as it may be shown.
        origin: String,
        /// The host, as it may be shown.
        asked: String,
    },
}

impl NotOurs {
    /// The reason for the client, in ASCII. It is logged as well.
    pub(super) fn reason(&self) -> String {
        let (what, value) = match self {
            Self::Host { asked, .. } => ("Host", asked),
            Self::Origin { origin, .. } => ("Origin", origin),
        };
        match value.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => format!("{what} {value} is not allowed"),
            false => format!("{what} is not allowed"),
        }
    }
}

impl Site {
    /// Admits clients by these terms.
    pub(super) fn new(terms: &SiteTerms) -> Self {
        Self(terms.clone())
    }

    /// Checks what a client asks for, and for a session the origin of its page.
    ///
    /// # Errors
    ///
    /// The reason why the client is refused.
    pub(super) fn check(&self, request: &ClientRequest<'_>) -> Result<(), NotOurs> {
        let Some(asked) = &request.facts.asked else { return Ok(()) };
        // A client that names no host is no browser.
        let host = asked.authority.as_ref().map_or("", Secret::reveal);
        let authority = Authority::parse(host);
        if !self.0.hosts.is_empty() && !host.is_empty() {
            let is_ours = authority.as_ref().is_some_and(|authority| {
                authority.host.is_fixed() || self.0.hosts.iter().any(|own| own.matches(&authority.host))
            });
            if !is_ours {
                return Err(NotOurs::Host { asked: self.shown(host) });
            }
        }
        let origin = request.facts.header("origin");
        let (RequestKind::Session, Some(listed), Some(text)) = (request.kind, &self.0.origins, origin) else {
            return Ok(());
        };
        let origin = Origin::parse(text);
        let is_of_host = origin.as_ref().zip(authority.as_ref());
        if is_of_host.is_some_and(|(origin, authority)| origin.is_of(authority, asked.secured))
            || listed.iter().any(|own| own.matches(text, origin.as_ref()))
        {
            return Ok(());
        }
        Err(NotOurs::Origin { origin: self.shown(text), asked: self.shown(host) })
    }

    /// A host or origin as it may be shown.
    fn shown(&self, text: &str) -> String {
        match self.0.is_secret {
            true => HIDDEN.to_owned(),
            false => text.chars().take(MAX_SHOWN).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use common::ipc::ClientAddr;
    use common::ipc::admission::{AskedFor, ClientFacts, Header};

    use super::*;

    fn check(
        terms: &SiteTerms,
        kind: RequestKind,
        host: Option<&str>,
        origin: Option<&str>,
    ) -> Result<(), NotOurs> {
        let secret = |text: &str| Secret::new(text.to_owned());
        let headers = origin.map(|value| Header { name: "origin".into(), value: secret(value) });
        let facts = ClientFacts {
            headers: headers.into_iter().collect(),
            asked: Some(AskedFor { authority: host.map(secret), secured: None }),
            ..ClientFacts::default()
        };
        let client = ClientAddr::Ip(([192, 0, 2, 7], 40000).into());
        Site::new(terms).check(&ClientRequest { client: &client, proxy: None, facts: &facts, kind })
    }

    fn terms(hosts: &[&str], origins: Option<&[&str]>) -> SiteTerms {
        SiteTerms {
            hosts: hosts.iter().map(|text| pattern(text)).collect(),
            origins: origins.map(|all| all.iter().map(|text| pattern(text)).collect()),
            is_secret: false,
        }
    }

    fn pattern<T: serde::de::DeserializeOwned>(text: &str) -> T {
        T::deserialize(serde_json::Value::from(text)).unwrap()
    }

    #[test]
    fn sessions_are_for_pages_of_the_host_asked_for_and_for_listed_ones() {
        let own = terms(&[], Some(&["https://portal.example"]));
        let session = |host, origin| check(&own, RequestKind::Session, host, origin).is_ok();
        let host = Some("vnc.example:6080");
        assert!(session(host, None), "no browser");
        assert!(session(host, Some("http://vnc.example:6080")));
        assert!(session(host, Some("https://portal.example")));
        assert!(session(None, Some("https://portal.example")));
        for (host, origin) in [
            (host, "http://vnc.example"),
            (host, "http://portal.example"),
            (host, "null"),
            (host, ""),
            (host, "{"),
            (None, "http://vnc.example:6080"),
            (Some(""), "http://vnc.example:6080"),
            (Some("vnc.example:x"), "http://vnc.example:6080"),
        ] {
            assert!(!session(host, Some(origin)), "{host:?} {origin}");
            assert_eq!(check(&own, RequestKind::Page, host, Some(origin)), Ok(()));
        }
        let any = terms(&[], None);
        assert_eq!(check(&any, RequestKind::Session, host, Some("https://evil.example")), Ok(()));
    }

    #[test]
    fn hosts_are_those_that_are_listed_and_those_that_no_name_server_leads_elsewhere() {
        let own = terms(&["vnc.example", "*.vm.example"], None);
        for kind in [RequestKind::Session, RequestKind::Page] {
            for host in [
                "vnc.example",
                "VNC.example.:6080",
                "a.vm.example",
                "localhost:1",
                "10.0.0.7",
                "[::1]:6080",
                "",
            ] {
                assert_eq!(check(&own, kind, Some(host), None), Ok(()), "{host}");
            }
            for host in [
                "evil.example",
                "vm.example",
                "vnc.example.evil",
                "x@vnc.example",
                "vnc.example:x",
                "[::1",
                " ",
            ] {
                assert!(check(&own, kind, Some(host), None).is_err(), "{host}");
            }
            assert_eq!(check(&own, kind, None, None), Ok(()));
        }
    }

    #[test]
    fn the_log_says_which_key_to_set_and_shows_no_token() {
        let mut own = terms(&["vnc.example"], Some(&[]));
        let refused =
            |own: &SiteTerms, host, origin| check(own, RequestKind::Session, Some(host), origin).unwrap_err();
        let page = refused(&own, "vnc.example", Some("https://canary.example"));
        assert_eq!(page.reason(), "Origin https://canary.example is not allowed");
        assert!(
            page.to_string().contains("'https://canary.example'")
                && page.to_string().contains("`web.origins`")
        );
        let host = refused(&own, "canary.example", None);
        assert_eq!(host.reason(), "Host canary.example is not allowed");
        assert!(host.to_string().contains("'canary.example'") && host.to_string().contains("`hosts`"));
        assert_eq!(refused(&own, "vnc.example", Some("https://ü\r\n")).reason(), "Origin is not allowed");
        own.is_secret = true;
        for (host, origin) in [("vnc.example", Some("https://canary.example")), ("canary.example", None)] {
            let refused = refused(&own, host, origin);
            assert!(!refused.to_string().contains("canary") && !refused.reason().contains("canary"));
        }
    }
}
