//! What a client gets whom the connector refuses a target.

use common::config::token::TokenRefusal;
use common::ipc::admission::Refusal;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::body::Body;
use super::error_page::error_page;
use crate::gateway::websocket::close::ControlPayload;

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
        (Refusal::NoToken | Refusal::UnknownToken, TokenRefusal::Http) => {
            Answer::Response(error_page(StatusCode::FORBIDDEN))
        }
        (Refusal::Overloaded | Refusal::Stale, _) | (Refusal::LookupFailed, TokenRefusal::Http) => {
            let mut response = error_page(StatusCode::SERVICE_UNAVAILABLE);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            Answer::Response(response)
        }
    }
}
