//! Responses to requests that are not for a WebSocket: files, the demo page, or 405.

use common::config::Prefix;
use common::ipc::setup::Page;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::http::body::Body;
use super::http::error_page::error_page;
use super::http::response::response;
use super::web::WebRoot;
use crate::beneath::Beneath;

/// The demo page, self-contained.
const DEMO: &str = include_str!("../../demo/index.html");

/// Limits the demo page to its own script and style, and to connections to its own origin. The other two
/// headers isolate it from other sites, for which browsers give it a clock of higher resolution.
const DEMO_HEADERS: [(HeaderName, &str); 3] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
];

/// The pages of an instance.
pub(super) enum Pages {
    /// No pages: every request gets 405.
    None,
    /// Files of a directory.
    Files(WebRoot),
    /// The demo page.
    Demo,
}

impl Pages {
    /// Creates the pages of a setup. `root` is the web directory, and `prefix` the path beneath which it is served.
    pub(super) fn new(page: &Page, root: Option<Beneath>, prefix: Option<&Prefix>) -> Result<Self, String> {
        match (page, root) {
            (Page::Files { listing, .. }, Some(root)) => {
                WebRoot::new(root, *listing, prefix.map_or("", Prefix::as_str))
                    .map(Self::Files)
                    .map_err(|error| error.to_string())
            }
            (Page::Files { .. }, None) => Err("there is no directory for the web".into()),
            (Page::Demo, _) => Ok(Self::Demo),
            (Page::None, _) => Ok(Self::None),
        }
    }

    /// Whether there are any.
    pub(super) fn are_there(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Responds to a request that is not for a WebSocket. `shown` is its path as it may be logged.
    pub(super) fn respond<B>(&self, request: &Request<B>, shown: &str) -> Response<Body> {
        match (self, request.method()) {
            (_, method) if method != Method::GET && method != Method::HEAD => not_allowed(),
            (Self::None, _) => not_allowed(),
            (Self::Files(root), _) => root.respond(request, shown),
            (Self::Demo, _) => demo(request.uri().path()),
        }
    }
}

/// 405, as the original answers every request that is not for a WebSocket unless it serves files.
fn not_allowed() -> Response<Body> {
    let mut response = error_page(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn demo(path: &str) -> Response<Body> {
    if path != "/" {
        return error_page(StatusCode::NOT_FOUND);
    }
    let mut response = response(StatusCode::OK, Body::bytes(DEMO));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    for (name, value) in DEMO_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
