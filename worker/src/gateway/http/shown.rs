//! What of a request may be shown: in the log, in the journal, in the register of sessions.
//!
//! A token is as good as a password. Wherever this configuration lets a client put one is left out, whether or not
//! there is one this time, and a query always: who writes `token=` in another way, or puts it into a parameter of
//! noVNC's page, would be shown otherwise.

use common::config::token::TokenFrom;
use common::ipc::setup::Inquiry;
use hyper::Request;
use hyper::header::{self, HeaderName};

use crate::gateway::websocket::handshake;

/// In place of what is not shown.
const HIDDEN: &str = "/…";

/// Paths that everybody uses for WebSockets; the second is noVNC's.
const WELL_KNOWN: [&str; 2] = ["/", "/websockify"];

/// What else than `?` may begin a query that was encoded once too often, or what follows a path by RFC 3986
/// section 3.3: no file of ours is named so.
const LIKE_QUERIES: [&str; 6] = ["%3f", "%3F", "%3d", "%3D", "=", ";"];

/// What of requests may be shown with one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Discretion {
    /// Clients have tokens, in the path's query, which some put into the path itself.
    tokens: bool,
    /// Hosts are tokens; a page's origin is its host.
    hosts: bool,
    /// An external plugin sees all of the request of a session, and may take any part for a token.
    all: bool,
    /// It does so for pages, too.
    pages: bool,
}

impl Discretion {
    /// That of a configuration whose connector wants to know this.
    pub(in crate::gateway) fn of(inquiry: &Inquiry) -> Self {
        let Inquiry { token, head, pages, .. } = inquiry;
        Self {
            tokens: token.is_some(),
            hosts: *token == Some(TokenFrom::Host),
            all: *head,
            pages: *head && *pages,
        }
    }

    /// Whether the value of a field may be shown.
    pub(in crate::gateway) fn shows(&self, field: &HeaderName) -> bool {
        match *field {
            header::USER_AGENT => !self.all,
            header::HOST | header::ORIGIN => !self.all && !self.hosts,
            _ => false,
        }
    }

    /// The path of a request, and a mark if it has a query.
    pub(in crate::gateway) fn path<B>(&self, request: &Request<B>) -> String {
        let query = if request.uri().query().is_some() { "?…" } else { "" };
        format!("{}{query}", self.path_alone(request))
    }

    /// The path of a request, as far as it may be shown.
    pub(in crate::gateway) fn path_alone<'a, B>(&self, request: &'a Request<B>) -> &'a str {
        let path = request.uri().path();
        let is_page = !handshake::is_asked(request);
        let may_be_token = if is_page { self.pages } else { self.tokens || self.all };
        let like_query = LIKE_QUERIES.iter().any(|mark| path.contains(mark));
        match may_be_token || like_query {
            true if !WELL_KNOWN.contains(&path) => HIDDEN,
            _ => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(inquiry: &Inquiry, target: &str, upgrade: &str) -> String {
        let request = Request::builder().uri(target).header("Upgrade", upgrade).body(()).unwrap();
        Discretion::of(inquiry).path(&request)
    }

    #[test]
    fn no_query_is_shown() {
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
    fn no_path_is_shown_that_may_be_a_token() {
        let tokens = Inquiry { token: Some(TokenFrom::Path), ..Inquiry::default() };
        assert_eq!(shown(&tokens, "/canary", "websocket"), "/…");
        assert_eq!(shown(&tokens, "/websockify?token=canary", "websocket"), "/websockify?…");
        assert_eq!(shown(&tokens, "/vnc.html", ""), "/vnc.html");
        let plugin = Inquiry { head: true, ..Inquiry::default() };
        assert_eq!(shown(&plugin, "/canary", "websocket"), "/…");
        assert_eq!(shown(&plugin, "/vnc.html", ""), "/vnc.html");
        let plugin_for_pages = Inquiry { head: true, pages: true, ..Inquiry::default() };
        assert_eq!(shown(&plugin_for_pages, "/canary/vnc.html", ""), "/…");
    }
}
