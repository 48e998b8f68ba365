//! The traffic of a session as reported by its gateway, and a check of its plausibility.

use std::time::Duration;

use common::ipc::gateway::{Count, Frames, SessionSummary};
use serde::{Deserialize, Serialize};

/// Maximum number of bytes or frames that a session can forward in a second in one direction: 100 Gbit/s,
/// which is several times the measured maximum of a gateway with its one thread.
const MAX_PER_SECOND: u128 = 12_500_000_000;

/// Tolerance for what was in buffers before the clock was read.
const HEAD_START: u128 = 1 << 20;

/// The traffic of a session so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    to_target: u64,
    to_client: u64,
    frames: Frames,
}

impl From<&Count> for Progress {
    fn from(count: &Count) -> Self {
        Self { to_target: count.to_target, to_client: count.to_client, frames: count.frames }
    }
}

impl From<&SessionSummary> for Progress {
    fn from(summary: &SessionSummary) -> Self {
        Self { to_target: summary.to_target, to_client: summary.to_client, frames: summary.frames }
    }
}

impl Progress {
    fn counts(&self) -> [u64; 4] {
        [self.to_target, self.to_client, self.frames.to_target, self.frames.to_client]
    }

    /// Whether a session of this age can have got here from `earlier`.
    pub(super) fn can_follow(&self, earlier: &Self, age: Duration) -> bool {
        let most = HEAD_START + age.as_micros() * MAX_PER_SECOND / 1_000_000;
        self.counts()
            .iter()
            .zip(earlier.counts())
            .all(|(now, before)| *now >= before && u128::from(*now) <= most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_bounded_by_time_and_never_decreases() {
        let at = |to_client| Progress { to_client, ..Progress::default() };
        let hour = Duration::from_secs(3600);
        for (count, before, age, can_be) in [
            (0, 0, Duration::ZERO, true),
            (1 << 20, 0, Duration::ZERO, true),
            (2 << 20, 0, Duration::ZERO, false),
            (u64::MAX, 0, Duration::from_secs(9), false),
            (45_000_000_000_000, 0, hour, true),
            (46_000_000_000_000, 0, hour, false),
            (7, 8, hour, false),
        ] {
            assert_eq!(at(count).can_follow(&at(before), age), can_be, "{count} after {before} in {age:?}");
        }
        let frames =
            |to_target| Progress { frames: Frames { to_target, to_client: 0 }, ..Progress::default() };
        assert!(!frames(u64::MAX).can_follow(&frames(0), hour), "frames");
    }
}
