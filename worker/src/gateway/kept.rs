//! Accounting of the data that sessions keep because the other side does not accept it.

use std::cell::Cell;

thread_local! {
    static TOTAL: Cell<usize> = const { Cell::new(0) };
    static LIMIT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Number of bytes that one buffer keeps. It counts towards the total of the gateway until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Kept(usize);

impl Kept {
    /// Sets the limit of the total, in bytes (`limits.unsent-bytes`). Default: unlimited.
    pub(super) fn set_limit(bytes: usize) {
        LIMIT.set(bytes);
    }

    /// Whether the total exceeds the limit.
    pub(super) fn is_over_limit() -> bool {
        TOTAL.get() > LIMIT.get()
    }

    /// Changes the number of bytes.
    pub(super) fn set(&mut self, bytes: usize) {
        TOTAL.set(TOTAL.get() - self.0 + bytes);
        self.0 = bytes;
    }

    /// The number of bytes.
    pub(super) fn get(&self) -> usize {
        self.0
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.set(0);
    }
}
