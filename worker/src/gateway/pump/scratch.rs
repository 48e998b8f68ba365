//! Per-thread buffers, which sessions borrow for one turn. An idle session holds no buffer.

use std::cell::RefCell;

use super::read_size::ReadSize;
use crate::gateway::transport::TLS_RESERVE_BYTES;
use crate::gateway::websocket::frame::MAX_SERVER_HEADER;

/// Size of each buffer: the largest read and what TLS may add to it, after space for a frame header. Pages that were
/// never touched take no memory.
const BYTES: usize = MAX_SERVER_HEADER + ReadSize::MAX + TLS_RESERVE_BYTES;

/// The buffers of the current thread.
pub(super) struct Scratch {
    /// Payload, after space for a frame header.
    pub(super) data: Box<[u8]>,
    /// Ciphertext before it is decrypted.
    pub(super) ciphertext: Box<[u8]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch { data: vec![0; BYTES].into(), ciphertext: vec![0; BYTES].into() });
}

impl Scratch {
    /// Lends the buffers to `turn`, which must not call this function again.
    pub(super) fn with<T>(turn: impl FnOnce(&mut Self) -> T) -> T {
        SCRATCH.with(|scratch| turn(&mut scratch.borrow_mut()))
    }
}
