//! A meter of a rate.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time over which a rate is averaged: a source that was silent may use as much at once as it may in this time.
const AVERAGED_OVER: Duration = Duration::from_secs(10);

/// How much of a rate is used, by the generic cell rate algorithm (ITU-T I.371): one time stands for all events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meter(Duration);

impl Meter {
    /// Counts an event of `rate` events per second.
    pub(super) fn count(&mut self, rate: u32, now: Duration) {
        self.0 = self.0.max(now) + Duration::from_secs(1) / rate.max(1);
    }

    /// Whether one more event exceeds `rate`.
    pub(super) fn is_full(self, rate: u32, now: Duration) -> bool {
        self.0.saturating_sub(now) + Duration::from_secs(1) / rate.max(1) > AVERAGED_OVER
    }

    /// Whether nothing is left of what was counted.
    pub(super) fn is_empty(self, now: Duration) -> bool {
        self.0 <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_on_average_and_exceeded_for_a_moment() {
        let (mut meter, mut now, mut counted) = (Meter::default(), Duration::from_secs(1000), 0);
        let mut try_often = |now, meter: &mut Meter| {
            for _ in 0..100_000 {
                if !meter.is_full(5, now) {
                    meter.count(5, now);
                    counted += 1;
                }
            }
            counted
        };
        assert_eq!(try_often(now, &mut meter), 50);
        for second in 1..=60 {
            now += Duration::from_secs(1);
            assert_eq!(try_often(now, &mut meter), 50 + 5 * second);
        }
        assert!(!meter.is_empty(now) && meter.is_empty(now + AVERAGED_OVER));
    }
}
