//! Tests with a clock of their own.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

use super::*;

const START: Duration = Duration::from_secs(100_000);
const SECOND: Duration = Duration::from_secs(1);

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn sources(change: impl FnOnce(&mut PerSource, &mut Penalties)) -> Sources {
    let mut per_source = PerSource { exempt: Networks::default(), ..PerSource::default() };
    let mut penalties = Penalties::default();
    change(&mut per_source, &mut penalties);
    let mut sources = Sources::default();
    sources.obey(Some(per_source), Some(penalties), Networks::default());
    sources.note_places(Places { all: 100_000, taken: 0 });
    sources
}

fn client(number: u32) -> Source {
    Source::of(IpAddr::V4(Ipv4Addr::from_bits(number)), Prefixes { v4: 32, v6: 56 })
}

/// A connection arrives; returns whether it is accepted.
fn arrives(sources: &mut Sources, source: Source, now: Duration) -> bool {
    let is_accepted = sources.arrives(source, Arrival::Any, now, || 0.999).is_ok();
    if is_accepted {
        sources.moved(source, None, Some(Place::Pending), now);
    }
    is_accepted
}

fn leaves(sources: &mut Sources, source: Source, now: Duration) {
    sources.moved(source, Some(Place::Pending), None, now);
}

#[test]
fn without_configuration_no_client_has_a_source() {
    let mut sources = Sources::default();
    let address = ClientAddr::Ip("192.0.2.7:1".parse().unwrap());
    assert_eq!(sources.source_of(&address, || None), None);
    sources.obey(None, None, Networks::default());
    assert_eq!(sources.source_of(&address, || panic!("asked for the user")), None);
    sources.obey(None, Some(Penalties::default()), Networks::default());
    assert_eq!(sources.source_of(&address, || None), Some(client(0xc000_0207)));
}

#[test]
fn clients_on_the_same_machine_are_exempt_by_default() {
    let mut sources = Sources::default();
    sources.obey(Some(PerSource::default()), Some(Penalties::default()), Networks::default());
    for address in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.1.2.3]:1"] {
        assert_eq!(sources.source_of(&ClientAddr::Ip(address.parse().unwrap()), || None), None);
    }
    let unix = ClientAddr::Unix("/run/x".into());
    assert_eq!(sources.source_of(&unix, || panic!("asked for the user")), None);
    let sources = self::sources(|_, _| {});
    assert_eq!(sources.source_of(&unix, || Some(1000)), Some(Source::User(1000)));
}

#[test]
fn trusted_proxies_are_exempt() {
    let mut sources = Sources::default();
    sources.obey(Some(PerSource::default()), None, Networks::this_machine());
    let mut limits = PerSource { exempt: Networks::default(), ..PerSource::default() };
    let local = ClientAddr::Ip("127.0.0.1:1".parse().unwrap());
    sources.obey(Some(limits.clone()), None, Networks::this_machine());
    assert_eq!(sources.source_of(&local, || None), None);
    limits.connections = number(1);
    sources.obey(Some(limits), None, Networks::default());
    assert!(sources.source_of(&local, || None).is_some());
}

#[test]
fn a_source_has_so_many_connections_and_sessions_and_no_more() {
    let mut sources =
        sources(|limits, _| (limits.connections, limits.sessions) = (number(3), Some(number(2))));
    let (one, other) = (client(1), client(2));
    for is_accepted in [true, true, true, false, false] {
        assert_eq!(arrives(&mut sources, one, START), is_accepted);
    }
    assert!(arrives(&mut sources, other, START), "another source has places of its own");
    for _ in 0..2 {
        sources.moved(one, Some(Place::Pending), Some(Place::Session), START);
    }
    assert!(!arrives(&mut sources, one, START), "two sessions");
    sources.moved(one, Some(Place::Session), None, START);
    assert!(arrives(&mut sources, one, START));
    let turned_away = |reason| sources.counts().turned_away.get(&reason).copied();
    assert_eq!((turned_away(Reason::Connections), turned_away(Reason::Sessions)), (Some(2), Some(1)));
}

#[test]
fn a_source_connects_at_its_rate() {
    let mut sources = sources(|limits, _| limits.rate = number(10));
    let mut accepted = 0;
    for millisecond in 0..60_000 {
        let now = START + Duration::from_millis(millisecond);
        if arrives(&mut sources, client(1), now) {
            accepted += 1;
            leaves(&mut sources, client(1), now);
        }
    }
    assert!((698..=700).contains(&accepted), "{accepted} in a minute and the first ten seconds");
}

#[test]
fn beyond_its_rate_of_handshakes_a_source_has_to_wait() {
    let mut sources = sources(|limits, _| limits.tls_rate = number(1));
    for _ in 0..10 {
        assert!(arrives(&mut sources, client(1), START));
        sources.begins_tls(client(1), START);
    }
    assert!(!arrives(&mut sources, client(1), START) && arrives(&mut sources, client(2), START));
    assert!(arrives(&mut sources, client(1), START + SECOND));
}

#[test]
fn when_there_are_many_connections_those_with_most_are_dropped() {
    let mut sources = sources(|limits, _| {
        (limits.early_drop, limits.connections, limits.rate) = (number(100), number(1000), number(1000));
    });
    for _ in 0..190 {
        sources.moved(client(1), None, Some(Place::Pending), START);
    }
    for other in 2..12 {
        sources.moved(client(other), None, Some(Place::Pending), START);
    }
    // 200 connections of 11 sources: 18 each on average.
    let probability = |sources: &Sources, pending| sources.drop_probability(pending, 100);
    assert!(probability(&sources, 190) > 0.99 && probability(&sources, 1) < 0.06);
    assert_eq!(probability(&sources, 0), 0.0);
    assert!(sources.arrives(client(1), Arrival::Any, START, || 0.9).is_err());
    assert!(sources.arrives(client(2), Arrival::Any, START, || 0.9).is_ok());
    assert!(sources.arrives(client(99), Arrival::Any, START, || 0.0).is_ok(), "has none yet");
    for _ in 0..100 {
        leaves(&mut sources, client(1), START);
    }
    assert!(sources.arrives(client(1), Arrival::Any, START, || 0.0).is_ok(), "fewer than 100 are left");
}

#[test]
fn dropping_begins_when_a_third_of_the_places_are_taken() {
    let mut sources =
        sources(|limits, _| (limits.early_drop, limits.connections) = (number(1000), number(1000)));
    for _ in 0..80 {
        sources.moved(client(1), None, Some(Place::Pending), START);
    }
    // Of 270 places 60 have sessions and exempt clients, so that 210 are left: from 70 on they are scarce.
    for (all, taken, is_dropped) in
        [(270, 140, true), (270, 80, false), (5000, 4000, false), (210, 80, true), (0, 0, true)]
    {
        sources.note_places(Places { all, taken });
        let result = sources.arrives(client(1), Arrival::Any, START, || 0.1);
        assert_eq!(result.is_err(), is_dropped, "{taken} of {all}");
        assert!(sources.arrives(client(2), Arrival::Any, START, || 0.0).is_ok(), "has none");
    }
}

#[test]
fn penalties_add_up_and_pass() {
    let mut sources = sources(|_, _| {});
    let one = client(1);
    for guess in 1..=12 {
        assert!(arrives(&mut sources, one, START), "guess {guess}");
        leaves(&mut sources, one, START);
        let line = sources.offends(one, Offence::WrongPassword, 1, START);
        assert_eq!(line.is_some(), guess == 12, "guess {guess}");
    }
    assert!(!arrives(&mut sources, one, START) && arrives(&mut sources, client(2), START));
    assert!(!arrives(&mut sources, one, START + 59 * SECOND), "until all have passed");
    assert!(arrives(&mut sources, one, START + 60 * SECOND));
    sources.offends(one, Offence::WrongPassword, 1, START + 60 * SECOND);
    assert!(arrives(&mut sources, one, START + 60 * SECOND), "it begins anew");
}

#[test]
fn a_thousand_wrong_passwords_take_an_hour_however_many_connections_guess() {
    for at_a_time in [1, 10, 256] {
        let mut sources = sources(|_, _| {});
        let (mut now, mut guesses) = (START, 0);
        while guesses < 1000 {
            let open = (0..at_a_time).filter(|_| arrives(&mut sources, client(1), now)).count();
            for _ in 0..open {
                sources.offends(client(1), Offence::WrongPassword, 1, now);
                leaves(&mut sources, client(1), now);
            }
            guesses += open;
            now += SECOND;
        }
        assert!(now - START > Duration::from_secs(3600), "{at_a_time}: {:?}", now - START);
    }
}

#[test]
fn penalties_have_a_maximum_and_are_shared() {
    let mut sources = sources(|_, penalties| penalties.maximum = 90 * SECOND);
    for _ in 0..100 {
        sources.offends(client(1), Offence::WrongPassword, 1, START);
    }
    assert_eq!(sources.punished(START)[0].penalty, 90 * SECOND);
    sources.offends(client(2), Offence::Crash, 10, START);
    assert_eq!(sources.punished(START)[1].penalty, 3 * SECOND);
}

#[test]
fn penalties_are_listed_and_forgiven() {
    let mut sources = sources(|_, _| {});
    for count in 1..=20 {
        for _ in 0..count {
            sources.offends(client(count), Offence::WrongPassword, 1, START);
        }
    }
    let punished = sources.punished(START);
    assert_eq!(
        punished.iter().map(|one| one.source).collect::<Vec<_>>(),
        (1..=20).rev().map(client).collect::<Vec<_>>()
    );
    assert_eq!(punished.iter().filter(|one| one.is_banned).count(), 9);
    assert_eq!(sources.forgive(|source| source == client(20), START), 1);
    assert!(arrives(&mut sources, client(20), START) && !arrives(&mut sources, client(19), START));
    assert_eq!(sources.forgive(|source| source == client(20), START), 0);
    assert_eq!(sources.punished(START + 3600 * SECOND), []);
}

#[test]
fn a_source_has_one_log_line_a_minute() {
    let mut sources = sources(|limits, _| limits.connections = number(1));
    arrives(&mut sources, client(1), START);
    let mut lines = Vec::new();
    for second in 0..120 {
        let now = START + second * SECOND;
        lines.extend(sources.arrives(client(1), Arrival::Any, now, || 0.9).unwrap_err().line);
    }
    let shown: Vec<_> = lines.iter().map(ToString::to_string).collect();
    let line = |count| {
        format!(
            "0.0.0.1: over the limit of its connections without a session; {count} connections were closed"
        )
    };
    assert_eq!(shown, [line(1), line(60)]);
    let mut count = 0;
    for other in 0..10_000 {
        for _ in 0..12 {
            count += usize::from(sources.offends(client(other), Offence::WrongPassword, 1, START).is_some());
        }
    }
    assert!(count <= 60, "{count} lines at once about all sources");
}

#[test]
fn the_table_is_bounded_and_keeps_the_longest_penalties() {
    let mut sources = sources(|_, _| {});
    for _ in 0..100 {
        sources.offends(client(u32::MAX), Offence::WrongPassword, 1, START);
    }
    arrives(&mut sources, client(0), START);
    for other in 1..300_000 {
        sources.offends(client(other), Offence::NoRequest, 1, START);
        assert!(sources.len() <= MAX_SOURCES + 1);
    }
    assert!(!arrives(&mut sources, client(u32::MAX), START), "still banned");
    leaves(&mut sources, client(0), START);
    // Everything is forgotten when it has passed.
    arrives(&mut sources, client(7), START + 3600 * SECOND);
    sources.sweep(START + 3600 * SECOND);
    assert_eq!(sources.len(), 1);
}

#[test]
fn an_upgrade_keeps_penalties_and_counts_connections_anew() {
    let mut sources = sources(|limits, _| limits.connections = number(1));
    arrives(&mut sources, client(1), START);
    for _ in 0..12 {
        sources.offends(client(2), Offence::WrongPassword, 1, START);
    }
    let text = serde_json::to_string(&sources.snapshot()).unwrap();
    let mut next = self::sources(|limits, _| limits.connections = number(1));
    next.adopt(common::json::object(text.as_bytes()).unwrap());
    assert!(!arrives(&mut next, client(2), START));
    assert!(arrives(&mut next, client(1), START) && !arrives(&mut next, client(1), START));
    assert_eq!(next.counts().offences.get(&Offence::WrongPassword), Some(&12));
}
