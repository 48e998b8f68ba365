//! Fair shares of the sources of connections, and penalties for what their clients do, as OpenSSH has them
//! (`PerSourceMaxStartups`, `MaxStartups`, `PerSourcePenalties` of sshd_config(5)).
//!
//! Connections count by the address that accept(2) gives, and those of trusted proxies by the client for which the proxy
//! vouches, once that is known. The table has neither a clock nor I/O; times are those of a clock that all images of the
//! supervisor share.

mod log;
mod meter;
mod source;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use common::config::{Penalties, PerSource};
use common::ipc::ClientAddr;
use common::ipc::offence::Offence;
use common::networks::Networks;
use serde::{Deserialize, Serialize};

pub(crate) use log::Line;
use log::LogBudget;
use source::Prefixes;
pub(crate) use source::Source;
use tally::Tally;

/// Number of sources that are remembered beside those that have connections.
const MAX_SOURCES: usize = 1 << 16;

/// Minimum number of sources at which those with nothing to remember are removed.
const MIN_SWEEP: usize = 1 << 10;

/// The sources that have connections or did something that is not forgotten yet.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    tallies: HashMap<Source, Tally>,
    /// Number of sources at which the table is swept next.
    sweep_at: usize,
    /// Connections without a session, of all sources.
    pending: u64,
    /// Sources that have such connections.
    sources_pending: u64,
    per_source: Option<PerSource>,
    penalties: Option<Penalties>,
    proxies: Networks,
    places: Places,
    counts: Counts,
    log: LogBudget,
}

/// The places for connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// All places.
    pub(crate) all: u64,
    /// Those that are taken by connections of all kinds.
    pub(crate) taken: u64,
}

/// Sums since the start of the service.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Connections that were turned away.
    pub(crate) turned_away: BTreeMap<Reason, u64>,
    /// Penalties.
    pub(crate) offences: BTreeMap<Offence, u64>,
}

/// The reason why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Reason {
    /// The penalties of its source have reached the threshold.
    Penalty,
    /// Its source has too many connections without a session.
    Connections,
    /// Its source has too many sessions.
    Sessions,
    /// Its source connects too often.
    Rate,
    /// Its source begins too many TLS handshakes.
    TlsRate,
    /// There are many connections without a session, and its source has many of them.
    EarlyDrop,
}

impl Reason {
    /// All reasons.
    pub(crate) const ALL: [Self; 6] =
        [Self::Penalty, Self::Connections, Self::Sessions, Self::Rate, Self::TlsRate, Self::EarlyDrop];

    /// The value of the metric's label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Penalty => "penalty",
            Self::Connections => "connections",
            Self::Sessions => "sessions",
            Self::Rate => "rate",
            Self::TlsRate => "tls_rate",
            Self::EarlyDrop => "early_drop",
        }
    }
}

/// A connection is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Objection {
    /// Time after which it is worth while to try again.
    pub(crate) retry_after: Duration,
    /// A log line, if one is due.
    pub(crate) line: Option<Line>,
}

/// What a connection is about to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Anything, as it was just accepted, or a session.
    Any,
    /// A page. It counts neither as a new connection, since a browser loads dozens at once, nor as a session.
    Page,
}

/// What a connection of a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It has no session, or not any more.
    Pending,
    /// It is a session.
    Session,
}

/// A source with a penalty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Punished {
    pub(crate) source: Source,
    /// What is left of the penalty.
    pub(crate) penalty: Duration,
    /// Whether its connections are turned away.
    pub(crate) is_banned: bool,
    /// Number of connections that were turned away since the last log line.
    pub(crate) turned_away: u64,
}

/// The table for the next image. Connections are counted anew.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    tallies: Vec<(Source, Tally)>,
    counts: Counts,
}

impl Sources {
    /// Applies the limits of a configuration from now on. `proxies` are those that it trusts, which have the clients of
    /// many sources.
    pub(crate) fn obey(
        &mut self,
        per_source: Option<PerSource>,
        penalties: Option<Penalties>,
        proxies: Networks,
    ) {
        (self.per_source, self.penalties, self.proxies) = (per_source, penalties, proxies);
    }

    /// Tells how many places there are for connections.
    pub(crate) fn note_places(&mut self, places: Places) {
        self.places = places;
    }

    /// The source of a client; `None` if no limit applies to it. `uid` is the user of a client of a unix socket.
    pub(crate) fn source_of(&self, client: &ClientAddr, uid: impl FnOnce() -> Option<u32>) -> Option<Source> {
        if self.per_source.is_none() && self.penalties.is_none() || client.is_in(&self.proxies) {
            return None;
        }
        let default = PerSource::default();
        let rules = self.per_source.as_ref().unwrap_or(&default);
        match client {
            ClientAddr::Ip(address) => {
                let address = address.ip().to_canonical();
                let prefixes = Prefixes { v4: rules.ipv4_prefix.get(), v6: rules.ipv6_prefix.get() };
                (!rules.exempt.contains(address)).then(|| Source::of(address, prefixes))
            }
            ClientAddr::Unix(_) if rules.exempt.contains_unix() => None,
            ClientAddr::Unix(_) => uid().map(Source::User),
        }
    }

    /// Decides about a new connection. `chance` gives a random number from 0 to below 1.
    ///
    /// # Errors
    ///
    /// The connection is turned away.
    pub(crate) fn arrives(
        &mut self,
        source: Source,
        arrival: Arrival,
        now: Duration,
        chance: impl FnOnce() -> f64,
    ) -> Result<(), Objection> {
        let Some(reason) = self.objection(source, arrival, now, chance) else {
            let rate = self.per_source.as_ref().map(|rules| rules.rate.get());
            if let Some(rate) = rate.filter(|_| arrival == Arrival::Any) {
                self.tally(source, now).arrivals.count(rate, now);
            }
            return Ok(());
        };
        *self.counts.turned_away.entry(reason).or_default() += 1;
        let tally = self.tally(source, now);
        tally.turn_away();
        let retry_after = match reason {
            Reason::Penalty => tally.penalty(now),
            _ => Duration::from_secs(1),
        };
        let may_log = tally.is_log_due(now) && self.log.take(now);
        Err(Objection { retry_after, line: may_log.then(|| self.line(source, reason, None, now)) })
    }

    /// The reason to turn a connection away, if there is one.
    fn objection(
        &self,
        source: Source,
        arrival: Arrival,
        now: Duration,
        chance: impl FnOnce() -> f64,
    ) -> Option<Reason> {
        let tally = self.tallies.get(&source)?;
        if tally.is_banned(now) && self.penalties.is_some() {
            return Some(Reason::Penalty);
        }
        let rules = self.per_source.as_ref()?;
        if arrival == Arrival::Page {
            return (tally.pending >= rules.connections.get()).then_some(Reason::Connections);
        }
        if rules.sessions.is_some_and(|most| tally.sessions >= most.get()) {
            Some(Reason::Sessions)
        } else if tally.pending >= rules.connections.get() {
            Some(Reason::Connections)
        } else if tally.arrivals.is_full(rules.rate.get(), now) {
            Some(Reason::Rate)
        } else if tally.handshakes.is_full(rules.tls_rate.get(), now) {
            Some(Reason::TlsRate)
        } else if self.drop_probability(tally.pending, self.drop_start(rules.early_drop.get())) > chance() {
            Some(Reason::EarlyDrop)
        } else {
            None
        }
    }

    /// The number of connections without a session at which dropping begins: `most`, or a third of the places for them. As
    /// those of sources that have many are all dropped at twice as many, a third is left to others.
    fn drop_start(&self, most: u32) -> u64 {
        let Places { all, taken } = self.places;
        let of_others = taken.saturating_sub(self.pending);
        (all.saturating_sub(of_others) / 3).clamp(1, most.into())
    }

    /// The probability with which a connection of a source with `pending` of them is dropped. It grows from 0 at `start`
    /// connections of all sources to 1 at twice as many, and is less for sources with less than the average; those that
    /// have none are not dropped.
    fn drop_probability(&self, pending: u32, start: u64) -> f64 {
        let beyond = self.pending.saturating_sub(start);
        if beyond == 0 || pending == 0 {
            return 0.0;
        }
        let load = beyond as f64 / start as f64;
        let average = self.pending as f64 / self.sources_pending.max(1) as f64;
        load.min(1.0) * (f64::from(pending) / average).min(1.0)
    }

    /// Counts a change of a connection of the source.
    pub(crate) fn moved(
        &mut self,
        source: Source,
        before: Option<Place>,
        after: Option<Place>,
        now: Duration,
    ) {
        let tally = self.tally(source, now);
        let was_pending = tally.pending > 0;
        match before {
            Some(Place::Pending) => tally.pending -= 1,
            Some(Place::Session) => tally.sessions -= 1,
            None => {}
        }
        match after {
            Some(Place::Pending) => tally.pending += 1,
            Some(Place::Session) => tally.sessions += 1,
            None => {}
        }
        let (is_pending, is_idle) = (tally.pending > 0, tally.is_idle(now));
        let of = |place: Option<Place>| u64::from(place == Some(Place::Pending));
        self.pending = self.pending + of(after) - of(before);
        self.sources_pending = self.sources_pending + u64::from(is_pending) - u64::from(was_pending);
        if is_idle {
            self.tallies.remove(&source);
        }
    }

    /// Counts a TLS handshake of the source.
    pub(crate) fn begins_tls(&mut self, source: Source, now: Duration) {
        if let Some(rate) = self.per_source.as_ref().map(|rules| rules.tls_rate.get()) {
            self.tally(source, now).handshakes.count(rate, now);
        }
    }

    /// Adds the penalty of an offence that `sharers` sources are answerable for. Returns a log line if the source has
    /// reached the threshold with it.
    pub(crate) fn offends(
        &mut self,
        source: Source,
        offence: Offence,
        sharers: u32,
        now: Duration,
    ) -> Option<Line> {
        let rules = self.penalties?;
        let penalty = rules.of(offence)? / sharers.max(1);
        *self.counts.offences.entry(offence).or_default() += 1;
        let tally = self.tally(source, now);
        let is_banned_now = tally.punish(penalty, &rules, now);
        let may_log = is_banned_now && tally.is_log_due(now) && self.log.take(now);
        may_log.then(|| self.line(source, Reason::Penalty, Some(offence), now))
    }

    /// Removes the penalties of the sources that `is_meant` chooses; returns their number.
    pub(crate) fn forgive(&mut self, is_meant: impl Fn(Source) -> bool, now: Duration) -> usize {
        let meant = self
            .tallies
            .iter_mut()
            .filter(|(source, tally)| is_meant(**source) && !tally.penalty(now).is_zero());
        meant.map(|(_, tally)| tally.forgive()).count()
    }

    /// The sources with penalties, the worst first.
    pub(crate) fn punished(&self, now: Duration) -> Vec<Punished> {
        let punished = self.tallies.iter().filter(|(_, tally)| !tally.penalty(now).is_zero());
        let mut punished: Vec<_> = punished
            .map(|(source, tally)| Punished {
                source: *source,
                penalty: tally.penalty(now),
                is_banned: tally.is_banned(now),
                turned_away: tally.turned_away(),
            })
            .collect();
        punished.sort_by_key(|one| (std::cmp::Reverse(one.penalty), one.source));
        punished
    }

    /// Sums since the start.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Number of sources that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.tallies.len()
    }

    /// The table for the next image.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let tallies = self.tallies.iter().map(|(source, tally)| (*source, tally.clone())).collect();
        Snapshot { tallies, counts: self.counts.clone() }
    }

    /// Restores the table of an earlier image, before its connections are counted.
    pub(crate) fn adopt(&mut self, snapshot: Snapshot) {
        self.tallies = snapshot.tallies.into_iter().collect();
        self.counts = snapshot.counts;
    }

    fn line(&mut self, source: Source, reason: Reason, offence: Option<Offence>, now: Duration) -> Line {
        let tally = self.tally(source, now);
        let penalty = tally.penalty(now);
        Line { source, reason, offence, penalty, connections: tally.log(now) }
    }

    fn tally(&mut self, source: Source, now: Duration) -> &mut Tally {
        if self.tallies.len() >= self.sweep_at.max(MIN_SWEEP) && !self.tallies.contains_key(&source) {
            self.sweep(now);
        }
        self.tallies.entry(source).or_default()
    }

    /// Removes sources with nothing to remember; if there are too many others, removes those whose penalties end first.
    fn sweep(&mut self, now: Duration) {
        self.tallies.retain(|_, tally| !tally.is_idle(now));
        let excess = (self.tallies.len() + 1).saturating_sub(MAX_SOURCES);
        if excess > 0 {
            let idle = self.tallies.iter().filter(|(_, tally)| !tally.is_connected());
            let mut ends: Vec<_> = idle.map(|(source, tally)| (tally.penalty(now), *source)).collect();
            // A quarter at a time, so that a flood of sources does not sort the table for each of them.
            let count = excess.max(MAX_SOURCES / 4).min(ends.len());
            if count < ends.len() {
                ends.select_nth_unstable(count);
            }
            for (_, source) in ends.into_iter().take(count) {
                self.tallies.remove(&source);
            }
        }
        self.sweep_at =
            (2 * self.tallies.len()).clamp(MIN_SWEEP, MAX_SOURCES).max(self.tallies.len() + MIN_SWEEP);
    }
}
