//! Moderation of targets that send many small pieces.
//!
//! Each piece wakes the gateway, and the gateway wakes the client: two context switches for data that takes
//! less time to copy. While a session streams like that, the event loop sleeps briefly before it polls again,
//! as network cards moderate interrupts.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Duration of one rest. About twice as much passes, because of the kernel's timer slack (PR_SET_TIMERSLACK
/// of prctl(2)). Other sessions are delayed by as much, so the loop does not rest while somebody types in one.
const REST: Duration = Duration::from_micros(50);

/// Larger reads are efficient without a rest, in bytes.
const SMALL: usize = 128 << 10;

/// Number of consecutive small pieces that make a stream. Any data from the client ends the row: the target
/// may be waiting for the client's answer.
const ROW: u32 = 16;

/// Maximum average interval between the pieces of a stream.
const FAST: Duration = Duration::from_micros(200);

/// Longest read that counts as keystrokes or pointer movements of a person, in bytes.
const TYPED: usize = 256;

/// Period after such a read in which the loop does not rest.
const ACTIVE: Duration = Duration::from_secs(1);

thread_local! {
    /// The session that has requested a rest.
    static WANTED: Cell<Option<SessionKey>> = const { Cell::new(None) };
    /// The session in which somebody has typed last.
    static LAST_TYPED: Cell<Option<(SessionKey, Instant)>> = const { Cell::new(None) };
}

/// Sleeps if a session has requested it since the last call and nobody types in another one. The event loop
/// calls this before it waits for events.
pub fn rest() {
    if take_request() {
        std::thread::sleep(REST);
    }
}

/// Whether a rest has been requested and delays nobody.
fn take_request() -> bool {
    let Some(wanted) = WANTED.take() else { return false };
    let would_be_delayed = |(session, at): (SessionKey, Instant)| session != wanted && at.elapsed() < ACTIVE;
    !LAST_TYPED.get().is_some_and(would_be_delayed)
}

/// The address of a session's [`Moderation`], which does not move while the session runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SessionKey(usize);

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
    pub(super) fn client_spoke(&mut self, received: usize) {
        if received <= TYPED {
            LAST_TYPED.set(Some((self.key(), Instant::now())));
        }
        *self = Self::default();
    }

    /// Notes that `received` bytes came from the target, and requests a rest if they are part of a stream.
    pub(super) fn target_spoke(&mut self, received: usize) {
        if self.is_stream(received, Instant::now) {
            WANTED.set(Some(self.key()));
        }
    }

    fn key(&self) -> SessionKey {
        SessionKey(std::ptr::from_ref(self).addr())
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
            moderation.client_spoke(1);
            assert_eq!(streamed(&mut moderation, 32, Duration::ZERO, ROW), 0);
        }
    }

    #[test]
    fn only_a_stream_asks_for_a_rest() {
        let mut moderation = Moderation::default();
        moderation.target_spoke(1);
        assert!(!take_request());
        for _ in 0..ROW {
            moderation.target_spoke(1);
        }
        assert!(take_request());
        assert!(!take_request(), "it rests once");
    }

    #[test]
    fn the_loop_does_not_rest_while_somebody_types_in_another_session() {
        let (mut streams, mut other) = (Moderation::default(), Moderation::default());
        let asks = |streams: &mut Moderation| {
            for _ in 0..2 * ROW {
                streams.target_spoke(1);
            }
            take_request()
        };
        streams.client_spoke(1);
        assert!(asks(&mut streams), "its own client");
        other.client_spoke(TYPED + 1);
        assert!(asks(&mut streams), "an upload");
        other.client_spoke(1);
        assert!(!asks(&mut streams));
    }
}
