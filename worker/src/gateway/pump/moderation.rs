//! Letting data of a target gather.
//!
//! A target that sends many small pieces wakes us for each, and we wake its client: two switches between
//! processes for what takes less time to copy. So while a session streams like that, the event loop rests for a
//! moment before it waits for more, as network cards do before they interrupt.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long the event loop rests. Twice as much passes, with what the kernel adds to a timer (PR_SET_TIMERSLACK
/// of prctl(2)). Other sessions wait as long, which nobody at a screen notices.
const REST: Duration = Duration::from_micros(50);

/// Who sends more at a time needs no rest for it.
const SMALL: usize = 128 << 10;

/// So many small pieces in a row are a stream, if the client has said nothing meanwhile: a client that answers
/// may be what the target waits for.
const ROW: u32 = 16;

/// And if they come as fast as this, on average.
const FAST: Duration = Duration::from_micros(200);

thread_local! {
    static WANTED: Cell<bool> = const { Cell::new(false) };
}

/// Rests, if a session has asked for it since the last time. For the event loop to call before it waits.
pub fn rest() {
    if WANTED.replace(false) {
        std::thread::sleep(REST);
    }
}

/// Whether the target of a session streams small pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moderation {
    /// Small pieces since the client spoke.
    pieces: u32,
    /// When the row began that they are in.
    began: Option<Instant>,
    streams: bool,
}

impl Moderation {
    /// Something came from the client.
    pub(super) fn client_spoke(&mut self) {
        *self = Self::default();
    }

    /// Something came from the target. If it streams, asks for a rest.
    pub(super) fn target_spoke(&mut self, received: usize) {
        if self.is_stream(received, Instant::now) {
            WANTED.set(true);
        }
    }

    /// The clock is looked at once in a row.
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

    /// Pieces that come `interval` apart; says how many of them were a stream.
    fn streamed(moderation: &mut Moderation, received: usize, interval: Duration, pieces: u32) -> u32 {
        let began = Instant::now();
        (0..pieces).map(|n| u32::from(moderation.is_stream(received, || began + interval * n))).sum()
    }

    #[test]
    fn many_small_pieces_at_a_time_are_a_stream() {
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
