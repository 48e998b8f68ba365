//! How much a session may forward before other sessions run.
//!
//! A single busy session forwards much at a time, which saves system calls. Several busy sessions share one round: the
//! event loop polls for events after each round and runs the sessions with events first, so a session that forwards
//! little does not wait for more than one round.

use std::cell::Cell;
use std::pin::pin;
use std::task::Context;

use tokio::task::yield_now;

/// Number of bytes that all busy sessions together forward in a round: about one millisecond of work.
const ROUND_BYTES: usize = 3 << 20;

/// Smallest number of bytes in a session's turn, whatever the number of sessions. Twice as much doubles the delay
/// beside 32 downloads and gives them no more throughput (docs/reference/performance.md).
const LEAST_BYTES: usize = 128 << 10;

/// Number of bytes that a shorter read counts as, since every system call takes time.
const CALL_BYTES: usize = 8 << 10;

thread_local! {
    /// Number of sessions that have used up their turn and wait for the next.
    static WAITING: Cell<usize> = const { Cell::new(0) };
}

/// Divisor of a turn with TLS, where a byte takes about three times as long.
const TLS_DIVISOR: usize = 3;

/// The number of bytes that a session may still read in its turn.
#[derive(Debug)]
pub(super) struct Turn(usize);

impl Turn {
    /// Begins a turn. The more sessions wait for theirs, the shorter it is.
    pub(super) fn begin(is_tls: bool) -> Self {
        let share = (ROUND_BYTES / (1 + WAITING.get())).max(LEAST_BYTES);
        Self(if is_tls { share / TLS_DIVISOR } else { share })
    }

    /// Limits a read of `wanted` bytes to the rest of the turn.
    pub(super) fn limit(&self, wanted: usize) -> usize {
        wanted.min(self.0)
    }

    /// Deducts a read of `received` bytes.
    pub(super) fn spend(&mut self, received: usize) {
        self.0 = self.0.saturating_sub(received.max(CALL_BYTES));
    }

    /// Whether the turn is used up. The session must not read until its next turn.
    pub(super) fn is_over(&self) -> bool {
        self.0 == 0
    }
}

/// A session's wait for its next turn. Dropping it ends the wait.
#[derive(Debug)]
pub(super) struct Waiting(());

impl Waiting {
    /// Wakes the task of `cx` in the next round, after the tasks that have events.
    pub(super) fn for_turn(cx: &mut Context<'_>) -> Self {
        WAITING.set(WAITING.get() + 1);
        // `yield_now` resumes the task after the event loop has polled for events, which it otherwise does once in
        // many turns only.
        let _ = pin!(yield_now()).poll(cx);
        Self(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.set(WAITING.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn sessions_that_wait_share_a_round() {
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(Turn::begin(false).limit(usize::MAX), ROUND_BYTES);
        let waiting: Vec<_> = (0..3).map(|_| Waiting::for_turn(&mut cx)).collect();
        assert_eq!(Turn::begin(false).limit(usize::MAX), ROUND_BYTES / 4);
        let many: Vec<_> = (0..1000).map(|_| Waiting::for_turn(&mut cx)).collect();
        assert_eq!(Turn::begin(false).limit(usize::MAX), LEAST_BYTES);
        assert_eq!(Turn::begin(true).limit(usize::MAX), LEAST_BYTES / TLS_DIVISOR);
        drop((waiting, many));
        assert_eq!(Turn::begin(false).limit(usize::MAX), ROUND_BYTES);
    }

    #[test]
    fn a_turn_ends_after_few_calls_however_little_they_move() {
        let mut turn = Turn::begin(false);
        for _ in 0..ROUND_BYTES / CALL_BYTES {
            assert!(!turn.is_over());
            turn.spend(1);
        }
        assert!(turn.is_over());
        assert_eq!(turn.limit(10), 0);
    }
}
