//! Redaction of requests in the log, the session records and the register.
//!
//! A token is as secret as a password. Every part of a request that may hold one under the current
//! configuration is redacted, whether or not it does. Queries are always redacted: a client may misspell
//! `token=`, or pass the token in a parameter of noVNC's page.

use common::config::carrier::{Carrier, TokenFrom};
use common::ipc::setup::Inquiry;
use hyper::Request;
use hyper::header::{self, HeaderName};
use percent_encoding::percent_decode_str;

use crate::gateway::websocket::handshake;

/// Replaces a redacted path.
const HIDDEN: &str = "/…";

/// Common WebSocket paths that are never tokens. The second is noVNC's.
const WELL_KNOWN: [&str; 2] = ["/", "/websockify"];

/// Marks of a query that was percent-encoded once too often, or of path parameters (RFC 3986 section 3.3). No
/// file that we serve has such a name.
const LIKE_QUERIES: [&str; 6] = ["%3f", "%3F", "%3d", "%3D", "=", ";"];

/// The parts of requests that may be shown under one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Redaction {
    /// Clients send tokens in the query, and some by mistake in the path.
    tokens: bool,
    /// Hosts are tokens. `Origin` is redacted too, as a page's origin is its host.
    hosts: bool,
    /// What precedes a token in the path, in segments, if tokens stand there. A browser may ask for such a path as for
    /// a page.
    before_token: Option<Vec<String>>,
    /// An external plugin receives the head of session requests, and may take any part of it for a token.
    all: bool,
    /// The external plugin receives requests for pages too.
    pages: bool,
}

impl Redaction {
    /// Derives what may be shown from the facts that the connector requests.
    pub(in crate::gateway) fn of(inquiry: &Inquiry) -> Self {
        let Inquiry { token, head, pages, .. } = inquiry;
        Self {
            tokens: token.is_some(),
            hosts: token.as_ref().is_some_and(|from| from.has(Carrier::Host)),
            before_token: token.as_ref().and_then(TokenFrom::path).map(|path| segments(path.before())),
            all: *head,
            pages: *head && *pages,
        }
    }

    /// Whether the value of the header field may be shown.
    pub(in crate::gateway) fn shows(&self, field: &HeaderName) -> bool {
        match *field {
            header::USER_AGENT => !self.all,
            header::HOST | header::ORIGIN => !self.all && !self.hosts,
            _ => false,
        }
    }

    /// Whether the addresses of pages may contain a token.
    pub(in crate::gateway) fn hides_referrers(&self) -> bool {
        self.tokens || self.all
    }

    /// The path as it may be shown, followed by `?…` if there is a query.
    pub(in crate::gateway) fn path<B>(&self, request: &Request<B>) -> String {
        let query = if request.uri().query().is_some() { "?…" } else { "" };
        format!("{}{query}", self.path_alone(request))
    }

    /// The path as it may be shown, without the query.
    pub(in crate::gateway) fn path_alone<'a, B>(&self, request: &'a Request<B>) -> &'a str {
        let path = request.uri().path();
        let is_page = !handshake::is_asked(request);
        let may_be_token = match is_page {
            true => self.pages || self.has_token(path),
            false => self.tokens || self.all,
        };
        let like_query = LIKE_QUERIES.iter().any(|mark| path.contains(mark));
        match may_be_token || like_query {
            true if !WELL_KNOWN.contains(&path) => HIDDEN,
            _ => path,
        }
    }

    /// Whether there may be a token in a path, however it is spelled.
    fn has_token(&self, path: &str) -> bool {
        let Some(before) = &self.before_token else { return false };
        let segments = segments(path);
        // A proxy may have added something in front.
        (0..segments.len()).any(|at| segments.len() - at > before.len() && segments[at..].starts_with(before))
    }
}

/// The segments of a path, decoded, in lower case, and without empty ones, `.` and `..`.
fn segments(path: &str) -> Vec<String> {
    let path = percent_decode_str(path).decode_utf8_lossy();
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop(),
            segment => segments.push(segment.to_ascii_lowercase()),
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens that stand in the path.
    fn by_path(template: &str) -> TokenFrom {
        let from = serde_json::json!({ "carriers": ["path"], "path": template });
        common::json::object(from.to_string().as_bytes()).unwrap()
    }

    fn shown(inquiry: &Inquiry, target: &str, upgrade: &str) -> String {
        let request = Request::builder().uri(target).header("Upgrade", upgrade).body(()).unwrap();
        Redaction::of(inquiry).path(&request)
    }

    #[test]
    fn queries_are_redacted() {
        let inquiry = Inquiry::default();
        for (target, path) in [
            ("/websockify", "/websockify"),
            ("/vm/1", "/vm/1"),
            ("/?token=canary", "/?…"),
            ("/?t%6fken=canary", "/?…"),
            ("/vnc.html?path=websockify?token=canary", "/vnc.html?…"),
            ("/vnc.html?path=websockify%3Ftoken%3Dcanary", "/vnc.html?…"),
            ("/websockify%3Ftoken=canary", "/…"),
            ("/websockify%3ftoken%3Dcanary", "/…"),
            ("/websockify;token=canary", "/…"),
            ("http://user:canary@host/x?canary", "/x?…"),
        ] {
            for upgrade in ["", "websocket"] {
                assert_eq!(shown(&inquiry, target, upgrade), path, "{target}");
            }
        }
    }

    #[test]
    fn paths_that_may_be_tokens_are_redacted() {
        let tokens = Inquiry { token: Some(TokenFrom::default()), ..Inquiry::default() };
        assert_eq!(shown(&tokens, "/canary", "websocket"), "/…");
        assert_eq!(shown(&tokens, "/websockify?token=canary", "websocket"), "/websockify?…");
        assert_eq!(shown(&tokens, "/vnc.html", ""), "/vnc.html");
        let plugin = Inquiry { head: true, ..Inquiry::default() };
        assert_eq!(shown(&plugin, "/canary", "websocket"), "/…");
        assert_eq!(shown(&plugin, "/vnc.html", ""), "/vnc.html");
        let in_path = Inquiry { token: Some(by_path("/vnc/{token}")), ..Inquiry::default() };
        for path in [
            "/vnc/canary",
            "/vnc/canary/x",
            "//vnc//canary",
            "/%76nc/canary",
            "/VNC/canary",
            "/a/../vnc/./canary",
            "/b/vnc/canary",
        ] {
            assert_eq!(shown(&in_path, path, ""), "/…", "{path}");
        }
        for path in ["/vnc", "/vnc/", "/vnc.html", "/app/ui.js"] {
            assert_eq!(shown(&in_path, path, ""), path);
        }
        let plugin_for_pages = Inquiry { head: true, pages: true, ..Inquiry::default() };
        assert_eq!(shown(&plugin_for_pages, "/canary/vnc.html", ""), "/…");
    }
}
