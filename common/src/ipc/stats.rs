//! Counters of gateways, for metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::admission::Refusal;

/// What a gateway has counted since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Responses by status code.
    pub responses: BTreeMap<u16, u64>,
    /// WebSocket handshakes by outcome.
    pub handshakes: BTreeMap<Handshake, u64>,
    /// Successful TLS handshakes with clients.
    pub tls: Durations,
    /// Failed TLS handshakes with clients.
    pub tls_failures: u64,
}

/// The outcome of a WebSocket handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Handshake {
    /// A session began.
    Opened,
    /// The request was invalid.
    Malformed,
    /// The target could not be reached.
    Unreachable,
    /// The service had run out of a resource, or could not ask a plugin or service.
    Unavailable,
    /// The client was not authenticated or authorized.
    AuthDenied,
    /// The client had no token, or an unknown one.
    TokenDenied,
}

impl Handshake {
    /// The value of the metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Malformed => "malformed",
            Self::Unreachable => "unreachable",
            Self::Unavailable => "unavailable",
            Self::AuthDenied => "auth_denied",
            Self::TokenDenied => "token_denied",
        }
    }
}

impl From<&Refusal> for Handshake {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Unreachable => Self::Unreachable,
            Refusal::Overloaded | Refusal::Stale | Refusal::LookupFailed | Refusal::AuthFailed => {
                Self::Unavailable
            }
            Refusal::Unauthorized
            | Refusal::Forbidden
            | Refusal::WrongOrigin
            | Refusal::NotOurs(_)
            | Refusal::Answered(_)
            | Refusal::TurnedAway { .. } => Self::AuthDenied,
            Refusal::NoToken | Refusal::UnknownToken => Self::TokenDenied,
        }
    }
}

impl Stats {
    /// Counts a response.
    pub fn count_response(&mut self, code: u16) {
        add(self.responses.entry(code).or_default(), 1);
    }

    /// Counts a WebSocket handshake.
    pub fn count_handshake(&mut self, result: Handshake) {
        add(self.handshakes.entry(result).or_default(), 1);
    }

    /// Whether a correct gateway that has reported `earlier` before can report this within `bounds`.
    #[must_use]
    pub fn is_possible(&self, earlier: &Self, bounds: &Bounds) -> bool {
        let Bounds { connections, requests, age } = *bounds;
        let requests = connections.saturating_mul(requests);
        let opened = self.handshakes.get(&Handshake::Opened).copied().unwrap_or_default();
        let handshakes = total([self.tls.total(), Some(self.tls_failures)]);
        self.responses.keys().all(|code| (100..600).contains(code))
            && has_grown(&earlier.responses, &self.responses)
            && has_grown(&earlier.handshakes, &self.handshakes)
            && self.tls.has_grown_from(&earlier.tls)
            && self.tls_failures >= earlier.tls_failures
            && opened <= connections
            && total(self.responses.values().copied().map(Some)).is_some_and(|sum| sum <= requests)
            && total(self.handshakes.values().copied().map(Some)).is_some_and(|sum| sum <= requests)
            && handshakes.is_some_and(|sum| sum <= connections)
            && self.tls.is_possible(age)
    }

    /// Adds the counters of another gateway.
    pub fn add(&mut self, other: &Self) {
        for (code, count) in &other.responses {
            add(self.responses.entry(*code).or_default(), *count);
        }
        for (result, count) in &other.handshakes {
            add(self.handshakes.entry(*result).or_default(), *count);
        }
        self.tls.add(&other.tls);
        add(&mut self.tls_failures, other.tls_failures);
    }
}

/// Limits of what a gateway can have counted.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Number of connections that it received.
    pub connections: u64,
    /// Maximum number of requests on one of its connections.
    pub requests: u64,
    /// Time since its start.
    pub age: Duration,
}

/// The sum; `None` if a value is missing or the sum overflows.
fn total(counts: impl IntoIterator<Item = Option<u64>>) -> Option<u64> {
    counts.into_iter().try_fold(0, |sum: u64, count| sum.checked_add(count?))
}

/// Whether no counter is smaller than before.
fn has_grown<K: Ord>(before: &BTreeMap<K, u64>, now: &BTreeMap<K, u64>) -> bool {
    before.iter().all(|(key, count)| now.get(key).is_some_and(|now| now >= count))
}

/// Bounds of [`Durations`], in milliseconds.
const BOUNDS: [u32; 12] = [1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];

/// A histogram of durations of up to some seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations {
    counts: [u64; BOUNDS.len() + 1],
    microseconds: u64,
}

impl Durations {
    /// Counts a duration.
    pub fn count(&mut self, took: Duration) {
        let bucket = BOUNDS.iter().take_while(|bound| took > Duration::from_millis((**bound).into())).count();
        if let Some(count) = self.counts.get_mut(bucket) {
            add(count, 1);
        }
        add(&mut self.microseconds, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Number of durations; `None` if it overflows.
    fn total(&self) -> Option<u64> {
        total(self.counts.map(Some))
    }

    /// Whether the sum can be that of so many durations between the bounds, none of them longer than `longest`.
    fn is_possible(&self, longest: Duration) -> bool {
        let longest = longest.as_micros();
        let bounds = || BOUNDS.iter().map(|bound| u128::from(*bound) * 1000);
        let sum = |bounds: &mut dyn Iterator<Item = u128>| -> u128 {
            self.counts.iter().zip(bounds).map(|(count, bound)| u128::from(*count) * bound).sum()
        };
        let least = sum(&mut [0].into_iter().chain(bounds()));
        let most = sum(&mut bounds().chain([longest]).map(|bound| bound.min(longest)));
        (least..=most).contains(&u128::from(self.microseconds))
    }

    fn has_grown_from(&self, earlier: &Self) -> bool {
        self.counts.iter().zip(earlier.counts).all(|(now, before)| *now >= before)
            && self.microseconds >= earlier.microseconds
    }

    /// Adds the counts of another histogram.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            add(count, more);
        }
        add(&mut self.microseconds, other.microseconds);
    }

    /// Number of durations by bucket: those up to each bound in seconds and above the previous one. The last
    /// bucket is unbounded.
    pub fn buckets(&self) -> impl Iterator<Item = (String, u64)> {
        let bounds = BOUNDS.iter().map(|bound| (f64::from(*bound) / 1000.0).to_string());
        bounds.chain(["+Inf".into()]).zip(self.counts)
    }

    /// Sum of all durations, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.microseconds as f64 / 1e6
    }
}

/// Adds without overflow, whatever a gateway reports.
fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_between_their_bounds() {
        let mut durations = Durations::default();
        for milliseconds in [1, 2, 5, 20_000] {
            durations.count(Duration::from_millis(milliseconds));
        }
        let buckets: Vec<_> = durations.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(buckets, [("0.001".into(), 1), ("0.005".into(), 2), ("+Inf".into(), 1)]);
        assert!((durations.seconds() - 20.008).abs() < 1e-9);
    }

    #[test]
    fn sums_never_wrap() {
        let mut stats = Stats { tls_failures: u64::MAX, ..Stats::default() };
        stats.count_response(200);
        stats.count_handshake(Handshake::Opened);
        let other = stats.clone();
        stats.add(&other);
        assert_eq!((stats.tls_failures, stats.responses[&200]), (u64::MAX, 2));
        assert_eq!(stats.handshakes[&Handshake::Opened], 2);
    }

    type Act = (&'static str, fn(&mut Stats));

    #[test]
    fn counts_are_possible_or_refused() {
        let bounds = Bounds { connections: 2, requests: 3, age: Duration::from_secs(1) };
        let mut counted = Stats { tls_failures: 1, ..Stats::default() };
        counted.count_response(200);
        counted.count_handshake(Handshake::Opened);
        counted.tls.count(Duration::from_millis(3));
        let nothing = Stats::default();
        assert!(counted.is_possible(&nothing, &bounds) && counted.is_possible(&counted, &bounds));
        assert!(!nothing.is_possible(&counted, &bounds), "less than before");
        let acts: [Act; 12] = [
            ("no status", |stats| stats.count_response(600)),
            ("fewer answers", |stats| _ = stats.responses.insert(200, 0)),
            ("no more of a kind", |stats| _ = stats.handshakes.remove(&Handshake::Opened)),
            ("more sessions than connections", |stats| _ = stats.handshakes.insert(Handshake::Opened, 3)),
            ("more answers than requests", |stats| _ = stats.responses.insert(404, 6)),
            ("answers beyond all numbers", |stats| _ = stats.responses.insert(404, u64::MAX)),
            ("more refusals than requests", |stats| _ = stats.handshakes.insert(Handshake::Malformed, 6)),
            ("more handshakes than connections", |stats| stats.tls_failures = 2),
            ("handshakes beyond all numbers", |stats| stats.tls.counts[12] = u64::MAX),
            ("longer than it lives", |stats| {
                stats.tls = Durations::default();
                stats.tls.count(Duration::from_micros(1_000_001));
            }),
            ("longer than its bound", |stats| stats.tls.microseconds = 5001),
            ("shorter than its bound", |stats| stats.tls.microseconds = 999),
        ];
        for (what, act) in acts {
            let mut stats = counted.clone();
            act(&mut stats);
            assert!(!stats.is_possible(&counted, &bounds), "{what}");
        }
    }
}
