//! The headers that every response bears.

use hyper::http::HeaderValue;
use hyper::{Response, StatusCode, header};

use super::body::Body;

/// A response with what all of them have: the length, no guessing of types
/// (`X-Content-Type-Options: nosniff`), and a question to the server before a cached copy is used
/// (`Cache-Control: no-cache`), since modules of two versions of noVNC do not work together.
pub fn response(status: StatusCode, body: Body) -> Response<Body> {
    let length = body.len();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // A Content-Length beside 304 would speak of the representation (RFC 9110 section 8.6).
    if status != StatusCode::NOT_MODIFIED {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}
