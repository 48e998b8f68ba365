//! HTTP/1.1 code shared by requests for pages and for WebSockets.

pub mod body;
pub(super) mod client_facts;
pub mod error_page;
pub mod forwarded;
pub(super) mod head;
pub(crate) mod html;
pub(super) mod redaction;
pub(super) mod refusal;
pub(super) mod request_summary;
pub mod response;
pub(super) mod stall;
pub(super) mod token;
pub(super) mod token_cookie;
