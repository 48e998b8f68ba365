//! The clock of what outlives a process.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time since the last boot, with the time in which the machine was suspended. All processes share it.
pub(crate) fn now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    // Never negative.
    Duration::try_from(now).unwrap_or_default()
}
