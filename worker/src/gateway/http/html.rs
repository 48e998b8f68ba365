//! HTML pages that the gateway generates: errors and directory listings.

use hyper::http::HeaderValue;
use hyper::{Response, StatusCode, header};

use super::body::Body;
use super::response::response;

/// Allows the inline style only. A name that was not escaped by mistake could still not run a script.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");

/// Uses the colours of the system, light or dark.
const STYLE: &str = ":root{color-scheme:light dark;font:1rem/1.6 system-ui,sans-serif}\
    body{max-width:50rem;margin:3rem auto;padding:0 1rem}\
    h1{font-size:1.4rem;font-weight:600;overflow-wrap:anywhere}\
    ul{list-style:none;padding:0}li{overflow-wrap:anywhere}\
    a{text-decoration:none}a:hover{text-decoration:underline}";

/// Builds a page. `title` is plain text; `content` is HTML.
pub(crate) fn page(status: StatusCode, title: &str, content: &str) -> Response<Body> {
    let title = escape(title);
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{content}</body>\n</html>\n"
    );
    let mut response = response(status, Body::bytes(html));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    response
}

/// Escapes text for an element or a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}
