//! HTTP/1.1: which request gets what.

pub mod body;
pub mod error_page;
pub(crate) mod html;
pub(super) mod page;
mod refusal;
pub mod response;
pub(super) mod service;
mod shown;
mod stall;
mod told;
