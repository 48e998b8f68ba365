//! The budget of a role's log lines. Both ends keep it: the role, so that it never exceeds its budget
//! whatever its clients do; and the supervisor, with more tolerance, so that it detects only roles that
//! ignore the budget.
//!
//! A gateway logs what its clients do, so each connection increases its budget. A connection with a session
//! costs some hundred bytes. One with many requests for pages costs about 100 bytes for each with `verbose`.

use std::time::Instant;

use super::escaped::Escaped;

/// Budget of a role without clients, in bytes a second: more than 2000 lines. Eight seconds of a flood at
/// this rate, after [`PATIENT`], are less than 4 MiB.
const RATE: i64 = 256 << 10;

/// Budget of a connection in bytes: the lines of about 300 requests.
const CONNECTION: i64 = 32 << 10;

/// Maximum burst after a quiet time, in bytes: half a second of 10 000 connections a second.
const FRUGAL: i64 = 1 << 20;

/// Maximum burst in the account of the supervisor, which receives lines late and in batches.
const PATIENT: i64 = FRUGAL + FRUGAL / 2;

/// Debt from which a role is ended, in bytes. Lines beyond the budget are dropped.
const MOST_DEBT: i64 = 1 << 20;

/// Cost of a line beside its text, in bytes: time, address and label.
const LINE: usize = 64;

/// Cost of a line with this text, in bytes.
#[must_use]
pub fn cost(text: &str) -> usize {
    LINE.saturating_add(Escaped(text).len())
}

/// The remaining budget of a role.
#[derive(Debug)]
pub struct Budget {
    /// Bytes; negative if lines were charged beyond the budget.
    left: i64,
    most: i64,
    as_of: Instant,
}

/// Verdict on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The line is logged.
    Logged,
    /// The line is dropped.
    Dropped,
    /// The line is dropped, after so many others that the role must be faulty.
    Excessive,
}

impl Budget {
    /// The budget that a role keeps for itself.
    #[must_use]
    pub fn frugal(now: Instant) -> Self {
        Self { left: FRUGAL, most: FRUGAL, as_of: now }
    }

    /// The budget that the supervisor keeps for a role.
    #[must_use]
    pub fn patient(now: Instant) -> Self {
        Self { left: PATIENT, most: PATIENT, as_of: now }
    }

    /// Adds a connection.
    pub fn add_connection(&mut self) {
        self.left = self.most.min(self.left + CONNECTION);
    }

    /// Takes `cost` for a line, if the budget suffices. Returns whether it does.
    pub fn take(&mut self, cost: usize, now: Instant) -> bool {
        self.advance(now);
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        let is_enough = self.left >= cost;
        if is_enough {
            self.left -= cost;
        }
        is_enough
    }

    /// Charges `cost` for a line and judges it.
    pub fn charge(&mut self, cost: usize, now: Instant) -> Verdict {
        self.advance(now);
        self.left = self.left.saturating_sub(i64::try_from(cost).unwrap_or(i64::MAX));
        match self.left {
            0.. => Verdict::Logged,
            left if left >= -MOST_DEBT => Verdict::Dropped,
            _ => Verdict::Excessive,
        }
    }

    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.as_of).as_micros();
        let earned = i64::try_from(passed).unwrap_or(i64::MAX).saturating_mul(RATE) / 1_000_000;
        if earned > 0 {
            self.left = self.most.min(self.left.saturating_add(earned));
            self.as_of = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_dropped_and_then_ended() {
        let now = Instant::now();
        let mut budget = Budget::patient(now);
        let mut logged = 0;
        let verdicts: Vec<_> = std::iter::repeat_with(|| budget.charge(1 << 10, now)).take(4000).collect();
        logged += verdicts.iter().filter(|verdict| **verdict == Verdict::Logged).count();
        assert_eq!(logged, usize::try_from(PATIENT >> 10).unwrap());
        assert_eq!(verdicts.get(logged), Some(&Verdict::Dropped));
        assert_eq!(verdicts.last(), Some(&Verdict::Excessive));
    }

    #[test]
    fn eight_seconds_of_a_flood_leave_less_than_5_mb() {
        let mut now = Instant::now();
        let mut budget = Budget::patient(now);
        let mut logged = 0;
        while budget.charge(250, now) == Verdict::Logged {
            logged += 250;
        }
        // A flood as large as the budget is never ended.
        for _ in 0..8000 {
            now += Duration::from_millis(1);
            if budget.charge(250, now) == Verdict::Logged {
                logged += 250;
            }
        }
        assert!(logged < 5_000_000, "{logged}");
        assert!(logged > 3_000_000, "{logged}");
    }

    #[test]
    fn a_role_that_keeps_its_budget_is_never_ended() {
        let mut now = Instant::now();
        let (mut ours, mut theirs) = (Budget::frugal(now), Budget::patient(now));
        for turn in 0..20_000 {
            now += Duration::from_micros(300);
            if turn % 7 == 0 {
                theirs.add_connection();
                ours.add_connection();
            }
            // Lines arrive late and in batches.
            let lines = (0..40).filter(|_| ours.take(3000, now)).count();
            let late = now + Duration::from_millis(20);
            for _ in 0..lines {
                assert_eq!(theirs.charge(3000, late), Verdict::Logged);
            }
        }
    }
}
