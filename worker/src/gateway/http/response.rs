//! Headers that every response has.

use hyper::http::HeaderValue;
use hyper::{Response, StatusCode, header};

use super::body::Body;

/// Creates a response with the common headers: `Content-Length`, `X-Content-Type-Options: nosniff`, and
/// `Cache-Control: no-cache`, which makes browsers revalidate cached copies, since modules of two versions of
/// noVNC do not work together.
pub fn response(status: StatusCode, body: Body) -> Response<Body> {
    let length = body.len();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // With 304, Content-Length would be that of the representation (RFC 9110 section 8.6).
    if status != StatusCode::NOT_MODIFIED {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}
