//! The WebSocket protocol (RFC 6455) without I/O: opening handshake, frames, masking and closing.

#![forbid(unsafe_code)]

pub mod close;
pub mod frame;
pub mod handshake;
pub mod mask;
