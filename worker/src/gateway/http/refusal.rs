//! What a client gets whom the connector refuses a target.

use common::config::token::TokenRefusal;
use common::ipc::admission::Refusal;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::body::Body;
use super::error_page::error_page;
use crate::gateway::websocket::close::ControlPayload;

/// What a client is asked that must name itself (RFC 7617 section 2), in the words of the original.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"Websockify\"");

/// How a client is refused.
#[derive(Debug)]
pub(super) enum Answer {
    /// Without a WebSocket.
    Response(Response<Body>),
    /// With one that is closed at once.
    Close(ControlPayload),
}

/// The answer to a refused client.
pub(super) fn answer(refusal: Refusal, tokens: TokenRefusal) -> Answer {
    let close = |code, reason| Answer::Close(ControlPayload::close(code, reason));
    match (refusal, tokens) {
        // As the original, which connects only when the WebSocket is open.
        (Refusal::Unreachable, _) => close(CloseCode::Error, "Failed to connect to downstream server"),
        (Refusal::NoToken, TokenRefusal::Close) => close(CloseCode::Policy, "Token not present"),
        (Refusal::UnknownToken, TokenRefusal::Close) => close(CloseCode::Policy, "Token not found"),
        (Refusal::LookupFailed, TokenRefusal::Close) => close(CloseCode::Error, "Token lookup failed"),
        _ => Answer::Response(page(refusal)),
    }
}

/// The answer to a client that was refused a page, or a WebSocket before it was open.
pub(super) fn page(refusal: Refusal) -> Response<Body> {
    let (status, field) = match refusal {
        Refusal::Unauthorized => (StatusCode::UNAUTHORIZED, Some((header::WWW_AUTHENTICATE, CHALLENGE))),
        Refusal::Forbidden | Refusal::NoToken | Refusal::UnknownToken => (StatusCode::FORBIDDEN, None),
        Refusal::Overloaded | Refusal::Stale | Refusal::LookupFailed | Refusal::Unreachable => {
            (StatusCode::SERVICE_UNAVAILABLE, Some((header::RETRY_AFTER, HeaderValue::from_static("1"))))
        }
    };
    let mut response = error_page(status);
    response.headers_mut().extend(field);
    response
}
