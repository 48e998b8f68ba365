//! How much a role may log. Both ends keep account: the role, so that it never exceeds what it may, whatever its clients
//! make it log; and the supervisor, with more patience, so that only a role that keeps no account is found out.
//!
//! A gateway logs what its clients do, so each connection that it is handed raises what it may log. A connection with a
//! session costs some hundred bytes, and one that asks for a page after the other about 100 for each with `verbose`.

use std::time::Instant;

use super::escaped::Escaped;

/// What a role may log without clients, bytes a second: more than 2000 lines. Eight seconds of a flood at this rate, with
/// [`PATIENT`] before, are less than 4 MiB.
const RATE: i64 = 256 << 10;

/// What a connection adds, bytes: the lines of about 300 requests.
const CONNECTION: i64 = 32 << 10;

/// What may be logged at once after a quiet time, bytes: half a second of 10 000 connections a second.
const FRUGAL: i64 = 1 << 20;

/// The same by the account of the supervisor, which hears of lines late and all at once.
const PATIENT: i64 = FRUGAL + FRUGAL / 2;

/// How far above that a role may be before it is ended. What is above is dropped.
const MOST_DEBT: i64 = 1 << 20;

/// What a line costs beside its text, bytes: time, address and label.
const LINE: usize = 64;

/// What a line of this text costs, bytes.
#[must_use]
pub fn cost(text: &str) -> usize {
    LINE.saturating_add(Escaped(text).len())
}

/// What a role may still log.
#[derive(Debug)]
pub struct Budget {
    /// Bytes; negative for what was logged in spite of it.
    left: i64,
    most: i64,
    as_of: Instant,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is logged.
    Logged,
    /// It is dropped.
    Dropped,
    /// It is dropped, and so many were before that no role in order logs them.
    Excessive,
}

impl Budget {
    /// That of a role which keeps to it.
    #[must_use]
    pub fn frugal(now: Instant) -> Self {
        Self { left: FRUGAL, most: FRUGAL, as_of: now }
    }

    /// That of the supervisor for a role.
    #[must_use]
    pub fn patient(now: Instant) -> Self {
        Self { left: PATIENT, most: PATIENT, as_of: now }
    }

    /// There is one more connection.
    pub fn add_connection(&mut self) {
        self.left = self.most.min(self.left + CONNECTION);
    }

    /// Takes `cost` for a line that is logged if there is enough; says whether there is.
    pub fn take(&mut self, cost: usize, now: Instant) -> bool {
        self.advance(now);
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        let is_enough = self.left >= cost;
        if is_enough {
            self.left -= cost;
        }
        is_enough
    }

    /// Takes `cost` for a line that somebody wants to log, and judges it.
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
        // From then on as much as is never ended.
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
    fn who_keeps_account_is_never_found_out() {
        let mut now = Instant::now();
        let (mut ours, mut theirs) = (Budget::frugal(now), Budget::patient(now));
        for turn in 0..20_000 {
            now += Duration::from_micros(300);
            if turn % 7 == 0 {
                theirs.add_connection();
                ours.add_connection();
            }
            // Lines come a little later, and all at once.
            let lines = (0..40).filter(|_| ours.take(3000, now)).count();
            let late = now + Duration::from_millis(20);
            for _ in 0..lines {
                assert_eq!(theirs.charge(3000, late), Verdict::Logged);
            }
        }
    }
}
