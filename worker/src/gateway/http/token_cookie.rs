//! Takes a token out of the address bar: a page that is asked for with a token in its query sets a cookie, and the
//! browser is sent to the same page without the token.

use common::config::carrier::COOKIE;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::body::Body;
use super::response::response;

/// The parameter of the query that is the token.
const PARAMETER: &str = "token";

/// Characters to encode in the cookie: all but the unreserved ones of RFC 3986, which may stand in a cookie
/// (RFC 6265 section 4.1.1).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The response that takes the token out of the query of a page; `None` if there is none. `path` is that of the pages
/// for which the cookie is meant, and `secured` tells whether the client uses TLS.
pub(in crate::gateway) fn take_token<B>(
    request: &Request<B>,
    path: &str,
    secured: bool,
) -> Option<Response<Body>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return None;
    }
    let (rest, token) = split(request.uri().query()?)?;
    let value = percent_encode(token.as_bytes(), RESERVED);
    let secure = if secured { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; Path={path}; HttpOnly; SameSite=Strict{secure}");
    let mut response = response(StatusCode::SEE_OTHER, Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::SET_COOKIE, HeaderValue::try_from(cookie).ok()?);
    headers.insert(header::LOCATION, HeaderValue::try_from(location(request.uri().path(), &rest)).ok()?);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

/// The query without the tokens, and the first token that is not empty.
fn split(query: &str) -> Option<(String, String)> {
    let mut token = None;
    let mut rest = Vec::new();
    for pair in query.split('&') {
        match form_urlencoded::parse(pair.as_bytes()).next() {
            Some((name, value)) if name == PARAMETER => {
                token = token.or_else(|| (!value.is_empty()).then(|| value.into_owned()));
            }
            _ => rest.push(pair),
        }
    }
    Some((rest.join("&"), token?))
}

/// The address of the same page with another query. It is relative to the page, as a proxy may have removed a part of
/// the path, and a path that begins with two slashes would be another host.
fn location(path: &str, query: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("./{name}{mark}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(target: &str, secured: bool) -> Option<(String, String)> {
        let request = Request::builder().uri(target).body(()).unwrap();
        let response = take_token(&request, "/", secured)?;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        let text = |name| response.headers()[name].to_str().unwrap().to_owned();
        Some((text(header::SET_COOKIE), text(header::LOCATION)))
    }

    #[test]
    fn a_token_becomes_a_cookie_and_leaves_the_query() {
        for (target, value, location) in [
            ("/vnc.html?token=abc", "abc", "./vnc.html"),
            ("/?token=abc", "abc", "./"),
            ("/a/b/?x=1&token=abc&y=%26", "abc", "./?x=1&y=%26"),
            ("/vnc.html?token=a&token=b", "a", "./vnc.html"),
            ("/vnc.html?t%6fken=a+b;c%0d%0a", "a%20b%3Bc%0D%0A", "./vnc.html"),
            ("//evil.example/x?token=a", "a", "./x"),
            ("/javascript:x?token=a", "a", "./javascript:x"),
            ("//evil.example?token=a", "a", "./evil.example"),
        ] {
            let cookie = format!("websockify-token={value}; Path=/; HttpOnly; SameSite=Strict");
            assert_eq!(taken(target, false), Some((cookie.clone(), location.to_owned())), "{target}");
            assert_eq!(taken(target, true).unwrap().0, format!("{cookie}; Secure"), "{target}");
        }
        for target in ["/", "/vnc.html?", "/?token=", "/?token", "/?path=websockify?token=a", "/?tokens=a"] {
            assert_eq!(taken(target, true), None, "{target}");
        }
        let post = Request::builder().method("POST").uri("/?token=a").body(()).unwrap();
        assert!(take_token(&post, "/", true).is_none());
    }
}
