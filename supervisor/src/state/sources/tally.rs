//! What is known of one source.

use std::time::Duration;

use common::config::Penalties;
use serde::{Deserialize, Serialize};

use super::meter::Meter;

/// Minimum interval between log lines about one source.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The connections of a source, and what it has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Connections without a session. Counted anew after an upgrade.
    #[serde(skip)]
    pub(super) pending: u32,
    /// Sessions. Counted anew after an upgrade.
    #[serde(skip)]
    pub(super) sessions: u32,
    /// New connections.
    pub(super) arrivals: Meter,
    /// TLS handshakes.
    pub(super) handshakes: Meter,
    /// The end of its penalty.
    penalty_ends: Duration,
    /// The penalty has reached the threshold, and lasts to its end.
    is_banned: bool,
    /// Connections that were turned away since the last log line.
    turned_away: u64,
    /// Time of the last log line.
    logged: Option<Duration>,
}

impl Tally {
    /// Whether there is nothing to remember.
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        !self.is_connected()
            && self.penalty_ends <= now
            && self.arrivals.is_empty(now)
            && self.handshakes.is_empty(now)
            && self.is_log_due(now)
    }

    /// Whether the source has connections.
    pub(super) fn is_connected(&self) -> bool {
        self.pending > 0 || self.sessions > 0
    }

    /// What is left of the penalty.
    pub(super) fn penalty(&self, now: Duration) -> Duration {
        self.penalty_ends.saturating_sub(now)
    }

    /// Whether the source is turned away for its penalty.
    pub(super) fn is_banned(&self, now: Duration) -> bool {
        self.is_banned && self.penalty_ends > now
    }

    /// Adds a penalty; returns whether it has reached the threshold just now.
    pub(super) fn punish(&mut self, penalty: Duration, rules: &Penalties, now: Duration) -> bool {
        let was_banned = self.is_banned(now);
        let sum = (self.penalty(now) + penalty).min(rules.maximum);
        self.penalty_ends = now + sum;
        self.is_banned = was_banned || sum >= rules.threshold;
        self.is_banned && !was_banned
    }

    /// Removes the penalty.
    pub(super) fn forgive(&mut self) {
        (self.penalty_ends, self.is_banned) = (Duration::ZERO, false);
    }

    /// Counts a connection that was turned away.
    pub(super) fn turn_away(&mut self) {
        self.turned_away = self.turned_away.saturating_add(1);
    }

    /// Whether a log line is due.
    pub(super) fn is_log_due(&self, now: Duration) -> bool {
        self.logged.is_none_or(|logged| now >= logged + LOG_INTERVAL)
    }

    /// Notes that a line is logged; returns the number of connections that it covers.
    pub(super) fn log(&mut self, now: Duration) -> u64 {
        self.logged = Some(now);
        std::mem::take(&mut self.turned_away)
    }

    /// Connections that were turned away since the last log line.
    pub(super) fn turned_away(&self) -> u64 {
        self.turned_away
    }
}
