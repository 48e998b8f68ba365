//! Maps the connector's refusals to responses.

use common::config::token::TokenRefusal;
use common::ipc::admission::{Header, Refusal, Reply};
use hyper::ext::ReasonPhrase;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::body::Body;
use super::error_page::{error_page, error_page_because};
use crate::gateway::websocket::close::ControlPayload;

/// Challenge for clients that must authenticate (RFC 7617 section 2). The realm is that of the original.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"Websockify\"");

/// Reason phrase of the original for a page of another origin.
const INVALID_ORIGIN: ReasonPhrase = ReasonPhrase::from_static(b"Invalid Origin");

/// `Retry-After` of refusals that are not the client's fault, in seconds.
const SOON: HeaderValue = HeaderValue::from_static("1");

/// The form in which a client is refused.
#[derive(Debug)]
pub(in crate::gateway) enum RefusedWith {
    /// An HTTP response instead of a WebSocket.
    Response(Response<Body>),
    /// A WebSocket that is closed at once with this Close frame.
    Close(ControlPayload),
}

/// Chooses the form of a refusal. `tokens` is how the configuration refuses tokens.
pub(in crate::gateway) fn answer(refusal: &Refusal, tokens: TokenRefusal) -> RefusedWith {
    let close = |code, reason| RefusedWith::Close(ControlPayload::close(code, reason));
    match (refusal, tokens) {
        // The original connects after it has opened the WebSocket, so its clients expect a Close frame.
        (Refusal::Unreachable, _) => close(CloseCode::Error, "Failed to connect to downstream server"),
        (Refusal::NoToken, TokenRefusal::Close) => close(CloseCode::Policy, "Token not present"),
        (Refusal::UnknownToken, TokenRefusal::Close) => close(CloseCode::Policy, "Token not found"),
        (Refusal::NotOurs(reason), TokenRefusal::Close) => close(CloseCode::Policy, reason),
        (Refusal::TurnedAway { .. }, TokenRefusal::Close) => close(CloseCode::Again, "Too many requests"),
        (Refusal::LookupFailed, TokenRefusal::Close) => close(CloseCode::Error, "Token lookup failed"),
        _ => RefusedWith::Response(page(refusal)),
    }
}

/// The response to a client that was refused a page, or refused a WebSocket before it was open.
pub(in crate::gateway) fn page(refusal: &Refusal) -> Response<Body> {
    match refusal {
        Refusal::Unauthorized => with(StatusCode::UNAUTHORIZED, header::WWW_AUTHENTICATE, CHALLENGE),
        Refusal::Forbidden | Refusal::NoToken | Refusal::UnknownToken => error_page(StatusCode::FORBIDDEN),
        Refusal::WrongOrigin => error_page_because(StatusCode::FORBIDDEN, INVALID_ORIGIN),
        Refusal::NotOurs(reason) => match ReasonPhrase::try_from(reason.as_bytes()) {
            Ok(reason) => error_page_because(StatusCode::FORBIDDEN, reason),
            Err(_) => error_page(StatusCode::FORBIDDEN),
        },
        Refusal::Answered(reply) => answered(reply),
        Refusal::TurnedAway { retry_after } => {
            with(StatusCode::TOO_MANY_REQUESTS, header::RETRY_AFTER, HeaderValue::from(*retry_after))
        }
        Refusal::Overloaded
        | Refusal::Stale
        | Refusal::LookupFailed
        | Refusal::AuthFailed
        | Refusal::Unreachable => with(StatusCode::SERVICE_UNAVAILABLE, header::RETRY_AFTER, SOON),
    }
}

/// Builds the response that a plugin has asked for. The connector has validated it; what still can't be sent
/// is omitted.
fn answered(reply: &Reply) -> Response<Body> {
    let status = Some(reply.status).filter(|status| Reply::STATUSES.contains(status));
    let status = status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::FORBIDDEN);
    let reason = reply.reason.as_deref().and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok());
    let mut response = match reason {
        Some(reason) => error_page_because(status, reason),
        None => error_page(status),
    };
    for Header { name, value } in reply.headers.iter().take(Reply::MAX_FIELDS) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(name.as_str()), HeaderValue::from_str(value.reveal()))
        {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn with(status: StatusCode, name: HeaderName, value: HeaderValue) -> Response<Body> {
    let mut response = error_page(status);
    response.headers_mut().insert(name, value);
    response
}
