//! Pauses between the end of a program and its next start.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Pause after a successful run. Clients wait meanwhile.
const SHORT: Duration = Duration::from_millis(50);

/// Maximum pause.
const LONGEST: Duration = Duration::from_secs(30);

/// A run of this length counts as successful.
const HEALTHY: Duration = Duration::from_secs(10);

/// Number of consecutive short runs from which a warning is logged.
const FLAPPING: u32 = 3;

/// The number of consecutive short runs.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Respawn {
    short_runs: u32,
}

impl Respawn {
    /// Whether the program repeatedly ends soon after its start. Clients are refused then instead of waiting.
    pub(super) fn flaps(&self) -> bool {
        self.short_runs >= FLAPPING
    }

    /// Returns the pause after a run that `lived` this long. A run that `served` a session is successful,
    /// however short it was: some programs serve one session and end.
    pub(super) fn pause(&mut self, name: &str, lived: Duration, served: bool) -> Duration {
        if served || lived >= HEALTHY {
            self.short_runs = 0;
            return SHORT;
        }
        self.short_runs = self.short_runs.saturating_add(1);
        let pause = self.last_pause();
        if self.flaps() {
            tracing::warn!(
                "Command respawning too fast: {name} has ended {} times soon after its start; \
                 starting it again in {} s",
                self.short_runs,
                pause.as_secs_f64(),
            );
        }
        pause
    }

    /// The pause after the last run.
    pub(super) fn last_pause(self) -> Duration {
        let doublings = self.short_runs.min(16);
        if doublings == 0 { SHORT } else { LONGEST.min(SHORT * (1 << doublings)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_short_runs_and_no_others() {
        let mut respawn = Respawn::default();
        let mut after =
            |seconds, served| respawn.pause("x", Duration::from_secs(seconds), served).as_millis();
        assert_eq!([after(0, false), after(9, false), after(1, false)], [100, 200, 400]);
        assert_eq!([after(10, false), after(0, false)], [50, 100]);
        assert_eq!([after(0, true), after(0, false)], [50, 100]);
        let last = (0..100).map(|_| after(0, false)).last();
        assert_eq!(last, Some(30_000));
    }
}
