//! How often tokens are used: uses, sessions at a time, and sessions that may be continued after they were lost.
//!
//! A token is known by its keyed hash. Times are those of a clock that goes on while the machine sleeps.

use std::collections::HashMap;
use std::time::Duration;

use common::ipc::gateway::{ClosedBy, SessionSummary};
use common::ipc::uses::{Reservation, UseLimits};
use serde::{Deserialize, Serialize};

/// Maximum number of tokens that are counted. Those of expired tokens are forgotten beyond it.
const MAX_TOKENS: usize = 1 << 16;

/// All tokens that are counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Uses(HashMap<String, Usage>);

/// What is counted of a token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Usage {
    /// Number of uses so far.
    spent: u32,
    /// Number of sessions and reservations.
    sessions: u32,
    /// Sessions that may be continued.
    lost: Vec<Lost>,
    /// When the token expires, in seconds since 1970, if it does.
    expires: Option<u64>,
}

/// A session that was lost and may be continued.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Lost {
    /// Until when.
    until: Duration,
    /// The end of its lifetime.
    ends: Option<Duration>,
}

/// A token's use that a connection holds, from its reservation to the end of its session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Use {
    /// Hash of the token.
    pub(super) token: String,
    kind: Kind,
    /// The end of the lifetime of the session.
    ends: Option<Duration>,
    /// Time for which a lost session may be continued.
    reconnect: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    /// A use was spent.
    Spent,
    /// A lost session is continued.
    Continued(Lost),
    /// The uses of the token are not limited.
    Unlimited,
}

impl Use {
    /// The answer to the reservation at the time `now`.
    pub(super) fn granted(&self, now: Duration) -> Reservation {
        Reservation::Granted { lifetime: self.ends.map(|ends| ends.saturating_sub(now)) }
    }
}

impl Uses {
    /// Reserves a use of a token at the time `now`, `today` in seconds since 1970.
    ///
    /// # Errors
    ///
    /// The answer, if there is no use left.
    pub(super) fn reserve(
        &mut self,
        token: &str,
        limits: &UseLimits,
        now: Duration,
        today: u64,
    ) -> Result<Use, Reservation> {
        if self.0.len() >= MAX_TOKENS && !self.0.contains_key(token) {
            self.0
                .retain(|_, usage| usage.sessions > 0 || usage.expires.is_none_or(|expires| expires > today));
            if self.0.len() >= MAX_TOKENS {
                return Err(Reservation::Overloaded);
            }
        }
        let usage = self.0.entry(token.to_owned()).or_default();
        let taken = usage.take(limits, now);
        match taken {
            Ok(kind) => {
                usage.sessions += 1;
                usage.expires = limits.expires;
                let before = if let Kind::Continued(lost) = kind { lost.ends } else { None };
                let own = limits.lifetime.map(|lifetime| now.saturating_add(lifetime));
                let ends = before.into_iter().chain(own).min();
                Ok(Use { token: token.to_owned(), kind, ends, reconnect: limits.reconnect })
            }
            Err(refused) => {
                self.forget_unused(token);
                Err(refused)
            }
        }
    }

    /// No session came of a reservation: gives the use back.
    pub(super) fn release(&mut self, held: Use) {
        let Some(usage) = self.0.get_mut(&held.token) else { return };
        usage.sessions = usage.sessions.saturating_sub(1);
        match held.kind {
            Kind::Spent => usage.spent = usage.spent.saturating_sub(1),
            Kind::Continued(lost) => usage.lost.push(lost),
            Kind::Unlimited => {}
        }
        self.forget_unused(&held.token);
    }

    /// The session has ended at the time `now`; without a summary if its gateway has died.
    pub(super) fn ended(&mut self, held: Use, summary: Option<&SessionSummary>, now: Duration) {
        let Some(usage) = self.0.get_mut(&held.token) else { return };
        usage.sessions = usage.sessions.saturating_sub(1);
        if let Some(reconnect) = held.reconnect.filter(|_| was_lost(summary)) {
            usage.lost.push(Lost { until: now.saturating_add(reconnect), ends: held.ends });
        }
        self.forget_unused(&held.token);
    }

    fn forget_unused(&mut self, token: &str) {
        if self
            .0
            .get(token)
            .is_some_and(|usage| *usage == Usage { expires: usage.expires, ..Usage::default() })
        {
            self.0.remove(token);
        }
    }
}

impl Usage {
    /// Takes a use, if there is one.
    fn take(&mut self, limits: &UseLimits, now: Duration) -> Result<Kind, Reservation> {
        self.lost.retain(|lost| lost.until > now && lost.ends.is_none_or(|ends| ends > now));
        if limits.sessions.is_some_and(|sessions| self.sessions >= sessions.get()) {
            return Err(Reservation::InUse);
        }
        let Some(uses) = limits.uses else { return Ok(Kind::Unlimited) };
        // The one that can be continued for the shortest time.
        let first = (0..self.lost.len()).min_by_key(|place| self.lost[*place].until);
        if let Some(place) = first {
            return Ok(Kind::Continued(self.lost.swap_remove(place)));
        }
        if self.spent >= uses.get() {
            return Err(Reservation::UsedUp);
        }
        self.spent += 1;
        Ok(Kind::Spent)
    }
}

/// Whether a session was lost: neither the client has closed it, nor an administrator, nor its time was over.
fn was_lost(summary: Option<&SessionSummary>) -> bool {
    summary.is_none_or(|summary| match summary.closed_by {
        ClosedBy::Client => !summary.client_said_close,
        ClosedBy::Admin | ClosedBy::Lifetime | ClosedBy::Revoked => false,
        ClosedBy::Target | ClosedBy::Violation | ClosedBy::Timeout | ClosedBy::Shutdown => true,
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use common::ipc::gateway::Frames;

    use super::*;

    const TOKEN: &str = "t";

    fn limits(uses: u32, sessions: u32, reconnect: u64, lifetime: u64) -> UseLimits {
        let seconds = |seconds| Some(Duration::from_secs(seconds)).filter(|time| !time.is_zero());
        UseLimits {
            uses: NonZeroU32::new(uses),
            sessions: NonZeroU32::new(sessions),
            reconnect: seconds(reconnect),
            lifetime: seconds(lifetime),
            expires: None,
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn summary(closed_by: ClosedBy, client_said_close: bool) -> SessionSummary {
        SessionSummary {
            to_target: 0,
            to_client: 0,
            closed_by,
            close_code: 1000,
            close_reason: String::new(),
            frames: Frames::default(),
            client_said_close,
        }
    }

    #[test]
    fn a_use_is_spent_by_a_session_and_given_back_without_one() {
        let (mut uses, limits) = (Uses::default(), limits(2, 0, 0, 0));
        let first = uses.reserve(TOKEN, &limits, at(0), 0).unwrap();
        let second = uses.reserve(TOKEN, &limits, at(0), 0).unwrap();
        assert_eq!(uses.reserve(TOKEN, &limits, at(0), 0), Err(Reservation::UsedUp));
        assert!(uses.reserve("other", &limits, at(0), 0).is_ok());
        uses.release(second);
        let second = uses.reserve(TOKEN, &limits, at(0), 0).unwrap();
        for held in [first, second] {
            uses.ended(held, Some(&summary(ClosedBy::Client, true)), at(1));
        }
        assert_eq!(uses.reserve(TOKEN, &limits, at(1), 0), Err(Reservation::UsedUp));
    }

    #[test]
    fn sessions_at_a_time_are_limited_and_forgotten() {
        let (mut uses, limits) = (Uses::default(), limits(0, 1, 0, 0));
        let held = uses.reserve(TOKEN, &limits, at(0), 0).unwrap();
        assert_eq!(uses.reserve(TOKEN, &limits, at(0), 0), Err(Reservation::InUse));
        uses.ended(held, None, at(1));
        let held = uses.reserve(TOKEN, &limits, at(1), 0).unwrap();
        uses.release(held);
        assert!(uses.0.is_empty());
    }

    #[test]
    fn a_lost_session_is_continued_within_its_window_and_others_are_not() {
        for (summary, is_lost) in [
            (None, true),
            (Some(summary(ClosedBy::Client, false)), true),
            (Some(summary(ClosedBy::Target, true)), true),
            (Some(summary(ClosedBy::Timeout, false)), true),
            (Some(summary(ClosedBy::Shutdown, true)), true),
            (Some(summary(ClosedBy::Violation, false)), true),
            (Some(summary(ClosedBy::Client, true)), false),
            (Some(summary(ClosedBy::Admin, false)), false),
            (Some(summary(ClosedBy::Lifetime, false)), false),
            (Some(summary(ClosedBy::Revoked, false)), false),
        ] {
            let (mut uses, limits) = (Uses::default(), limits(1, 0, 10, 0));
            let held = uses.reserve(TOKEN, &limits, at(0), 0).unwrap();
            uses.ended(held, summary.as_ref(), at(5));
            let mut late = uses.clone();
            assert_eq!(late.reserve(TOKEN, &limits, at(15), 0), Err(Reservation::UsedUp));
            assert_eq!(uses.reserve(TOKEN, &limits, at(14), 0).is_ok(), is_lost, "{summary:?}");
            // Once, unless it is lost again.
            assert_eq!(uses.reserve(TOKEN, &limits, at(14), 0), Err(Reservation::UsedUp));
        }
    }

    #[test]
    fn a_continued_session_ends_when_the_lost_one_would_have() {
        let (mut uses, limits) = (Uses::default(), limits(1, 0, 100, 60));
        let lifetime = |held: &Use, now| match held.granted(now) {
            Reservation::Granted { lifetime } => lifetime,
            other => panic!("{other:?}"),
        };
        let held = uses.reserve(TOKEN, &limits, at(0), 0).unwrap();
        assert_eq!(lifetime(&held, at(0)), Some(at(60)));
        uses.ended(held, None, at(20));
        let held = uses.reserve(TOKEN, &limits, at(30), 0).unwrap();
        assert_eq!(lifetime(&held, at(30)), Some(at(30)));
        // What was taken and not used can still be continued.
        uses.release(held);
        let held = uses.reserve(TOKEN, &limits, at(40), 0).unwrap();
        uses.ended(held, None, at(50));
        assert_eq!(uses.reserve(TOKEN, &limits, at(60), 0), Err(Reservation::UsedUp));
    }

    #[test]
    fn the_number_of_tokens_is_bounded_and_expired_ones_make_room() {
        let (mut uses, unlimited) = (Uses::default(), limits(1, 0, 0, 0));
        let expiring = UseLimits { expires: Some(10), ..unlimited };
        for number in 0..MAX_TOKENS {
            let held = uses.reserve(&number.to_string(), &expiring, at(0), 0).unwrap();
            uses.ended(held, None, at(0));
        }
        assert_eq!(uses.reserve(TOKEN, &unlimited, at(0), 9), Err(Reservation::Overloaded));
        assert!(uses.reserve(TOKEN, &unlimited, at(0), 10).is_ok());
        assert_eq!(uses.0.len(), 1);
    }
}
