//! Sends a file, or a range of it.

use std::fs::File;

use hyper::http::HeaderValue;
use hyper::{Method, Request, Response, StatusCode, header};
use rustix::fs::Stat;

use super::conditional::{Outcome, Validators};
use super::media_type::media_type;
use super::range::{Part, requested_part};
use crate::gateway::http::body::Body;
use crate::gateway::http::error_page::error_page;
use crate::gateway::http::response::response;

/// Responds to a request with the open file `name`.
pub(super) fn send<B>(request: &Request<B>, name: &[u8], file: File, stat: &Stat) -> Response<Body> {
    let headers = request.headers();
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let validators = Validators::of(stat);
    let mut response = match validators.evaluate(headers) {
        Outcome::PreconditionFailed => return error_page(StatusCode::PRECONDITION_FAILED),
        Outcome::NotModified => response(StatusCode::NOT_MODIFIED, Body::empty()),
        // Ranges apply to GET only (RFC 9110 section 14.2).
        Outcome::Proceed if request.method() == Method::GET && validators.allow_range(headers) => {
            send_part(requested_part(headers, size), name, file, size)
        }
        Outcome::Proceed => send_part(Part::Whole, name, file, size),
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&validators.etag) {
        headers.insert(header::ETAG, etag);
    }
    if let Some(modified) = validators.modified.map(httpdate::fmt_http_date) {
        headers.extend(HeaderValue::try_from(modified).map(|date| (header::LAST_MODIFIED, date)));
    }
    response
}

fn send_part(part: Part, name: &[u8], file: File, size: u64) -> Response<Body> {
    let (mut response, content_range) = match part {
        Part::Whole => (response(StatusCode::OK, Body::file(file, 0..size)), None),
        Part::Some(range) => {
            let content_range = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            (response(StatusCode::PARTIAL_CONTENT, Body::file(file, range)), Some(content_range))
        }
        Part::Unsatisfiable => {
            (error_page(StatusCode::RANGE_NOT_SATISFIABLE), Some(format!("bytes */{size}")))
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.entry(header::CONTENT_TYPE).or_insert_with(|| media_type(name));
    if let Some(Ok(content_range)) = content_range.map(HeaderValue::try_from) {
        headers.insert(header::CONTENT_RANGE, content_range);
    }
    response
}
