//! Buffers that belong to the thread: sessions borrow them for one turn, so that an idle session has
//! none.

use std::cell::RefCell;

use super::read_size::ReadSize;
use crate::gateway::websocket::frame::MAX_SERVER_HEADER;

/// Size of each buffer: the largest read, behind room for the header of a frame. Pages that were never
/// used take no memory.
const BYTES: usize = MAX_SERVER_HEADER + ReadSize::MAX;

/// The buffers of this thread.
pub(super) struct Scratch {
    /// What is read as payload, behind room for the header of a frame.
    pub(super) data: Box<[u8]>,
    /// Ciphertext on its way to payload.
    pub(super) ciphertext: Box<[u8]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch { data: vec![0; BYTES].into(), ciphertext: vec![0; BYTES].into() });
}

impl Scratch {
    /// Lends the buffers. `turn` must not ask for them again.
    pub(super) fn with<T>(turn: impl FnOnce(&mut Self) -> T) -> T {
        SCRATCH.with(|scratch| turn(&mut scratch.borrow_mut()))
    }
}
