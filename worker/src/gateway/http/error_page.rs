//! Responses for rejected requests.

use hyper::ext::ReasonPhrase;
use hyper::{Response, StatusCode};

use super::body::Body;
use super::html;

/// An error page with status code and reason phrase only. Headers that the status requires, such as `Allow`
/// or `WWW-Authenticate`, are added by the caller.
pub fn error_page(status: StatusCode) -> Response<Body> {
    let reason = status.canonical_reason().unwrap_or("Error");
    html::page(status, &format!("{} {reason}", status.as_u16()), "")
}

/// An error page with another reason phrase than the usual one (RFC 9112 section 4).
pub(crate) fn error_page_because(status: StatusCode, reason: ReasonPhrase) -> Response<Body> {
    let shown = String::from_utf8_lossy(reason.as_bytes()).into_owned();
    let mut response = html::page(status, &format!("{} {shown}", status.as_u16()), "");
    response.extensions_mut().insert(reason);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header;

    #[test]
    fn says_the_status_and_keeps_browsers_from_guessing() {
        let response = error_page(StatusCode::NOT_FOUND);
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(response.headers()[header::CONTENT_LENGTH], response.body().len().to_string().as_str());
        assert!(format!("{:?}", response.body()).contains("<h1>404 Not Found</h1>"));
    }

    #[test]
    fn an_unassigned_status_has_a_page_too() {
        let response = error_page(StatusCode::from_u16(799).unwrap());
        assert!(format!("{:?}", response.body()).contains("<h1>799 Error</h1>"));
    }
}
