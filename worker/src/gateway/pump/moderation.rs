//! Moderation of targets that send many small pieces.
//!
//! Each piece wakes the gateway, and the gateway wakes the client: two context switches for data that takes
//! less time to copy. While a session streams like that, the event loop sleeps briefly before it polls again,
//! as network cards moderate interrupts.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Duration of one rest. About twice as much passes, because of the kernel's timer slack (PR_SET_TIMERSLACK
/// of prctl(2)). Other sessions are delayed by as much, which is not noticeable on a screen.
const REST: Duration = Duration::from_micros(50);

/// Larger reads are efficient without a rest, in bytes.
const SMALL: usize = 128 << 10;

/// Number of consecutive small pieces that make a stream. Any data from the client ends the row: the target
/// may be waiting for the client's answer.
const ROW: u32 = 16;

/// Maximum average interval between the pieces of a stream.
const FAST: Duration = Duration::from_micros(200);

thread_local! {
    static WANTED: Cell<bool> = const { Cell::new(false) };
}

/// Sleeps if a session has requested it since the last call. The event loop calls this before it waits for
/// events.
pub fn rest() {
    if WANTED.replace(false) {
        std::thread::sleep(REST);
    }
}

/// Detects whether the target of a session streams small pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moderation {
    /// Small pieces since the client last sent something.
    pieces: u32,
    /// Beginning of the current row of pieces.
    began: Option<Instant>,
    streams: bool,
}

impl Moderation {
    /// Notes that data came from the client.
    pub(super) fn client_spoke(&mut self) {
        *self = Self::default();
    }

    /// Notes that `received` bytes came from the target, and requests a rest if they are part of a stream.
    pub(super) fn target_spoke(&mut self, received: usize) {
        if self.is_stream(received, Instant::now) {
            WANTED.set(true);
        }
    }

    /// Whether a stream is being received. Reads the clock once a row.
    fn is_stream(&mut self, received: usize, now: impl FnOnce() -> Instant) -> bool {
        if received > SMALL {
            *self = Self::default();
            return false;
        }
        if self.pieces % ROW == 0 {
            let now = now();
            self.streams = self.began.is_some_and(|began| now.duration_since(began) < FAST * ROW);
            self.began = Some(now);
        }
        self.pieces = self.pieces.wrapping_add(1);
        self.streams
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulates pieces that arrive every `interval`. Returns how many of them counted as a stream.
    fn streamed(moderation: &mut Moderation, received: usize, interval: Duration, pieces: u32) -> u32 {
        let began = Instant::now();
        (0..pieces).map(|n| u32::from(moderation.is_stream(received, || began + interval * n))).sum()
    }

    #[test]
    fn many_small_pieces_in_a_row_are_a_stream() {
        let mut moderation = Moderation::default();
        assert_eq!(streamed(&mut moderation, 1024, FAST / 2, 3 * ROW), 2 * ROW);
        assert_eq!(streamed(&mut Moderation::default(), 1024, FAST * 2, 3 * ROW), 0, "slow");
        assert_eq!(streamed(&mut Moderation::default(), SMALL + 1, FAST / 2, 3 * ROW), 0, "large");
    }

    #[test]
    fn answers_to_a_client_are_no_stream() {
        let mut moderation = Moderation::default();
        for _ in 0..10 * ROW {
            moderation.client_spoke();
            assert_eq!(streamed(&mut moderation, 32, Duration::ZERO, ROW), 0);
        }
    }

    #[test]
    fn only_a_stream_asks_for_a_rest() {
        let mut moderation = Moderation::default();
        moderation.target_spoke(1);
        assert!(!WANTED.get());
        for _ in 0..ROW {
            moderation.target_spoke(1);
        }
        assert!(WANTED.get());
        rest();
        assert!(!WANTED.get(), "it rests once");
    }
}
