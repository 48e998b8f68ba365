//! An exhaustive search of the state machine: every order in which gateways and connectors can report, lie,
//! delay and die, for a few connections, gateways and connectors. The model keeps the true state beside the
//! table's, and checks the promises of [`machine`](super::machine) after each step. From each state the table
//! must come to rest.
//!
//! The first gateway is hostile and does anything. The second is correct, and must never be blamed for
//! anything but silence. Connectors delay, are silent, or die.

#![allow(clippy::print_stdout, reason = "says how much was explored")]

mod table;
mod world;

use std::collections::HashSet;
use std::time::Instant;

use super::machine::{Effects, Event, GatewayReport, State, Then, step};
use table::Table;
use world::{Act, Broken, Cast, Step, World};

/// Explores all states. Returns their number, or the events that lead to a broken promise.
fn search(cast: Cast, step: Step) -> Result<usize, Broken> {
    let first = World::new(cast);
    let mut found = HashSet::from([first]);
    let mut states = vec![(first, None::<(usize, Act)>)];
    let mut next = 0;
    while let Some((world, _)) = states.get(next).copied() {
        let fail = |states: &[(World, Option<(usize, Act)>)], last: Option<Act>, broken: Broken| {
            let mut way: Vec<_> = last.into_iter().collect();
            let mut at = next;
            while let Some((before, act)) = states[at].1 {
                way.push(act);
                at = before;
            }
            way.reverse();
            format!("{broken}: {way:?}")
        };
        for connectors_die in [false, true] {
            let rests = world.comes_to_rest(cast, step, connectors_die);
            rests.map_err(|broken| fail(&states, None, broken))?;
        }
        for act in world.acts(cast) {
            let mut then = world;
            then.act(cast, step, act).map_err(|broken| fail(&states, Some(act), broken))?;
            // Clients are interchangeable.
            then.connections[..cast.connections].sort_unstable();
            if found.insert(then) {
                states.push((then, Some((next, act))));
            }
        }
        next += 1;
    }
    Ok(states.len())
}

/// One connection, with gateways and connectors that are replaced, under one configuration.
const ONE: Cast = Cast { connections: 1, generations: [0, 0], replacements: (1, 1), connectors_lie: false };
const THROUGH_A_RELOAD: Cast = Cast { generations: [0, 1], replacements: (1, 0), ..ONE };
const WITH_LIARS: Cast = Cast { replacements: (0, 1), connectors_lie: true, ..ONE };

/// Two connections that share their gateways.
const TWO: Cast = Cast { connections: 2, replacements: (0, 0), ..ONE };

fn explore(what: &str, cast: Cast) {
    let began = Instant::now();
    let states = search(cast, step).unwrap();
    println!("{what}: {states} states in {:?}", began.elapsed());
    assert!(states > 10_000, "{states}");
}

#[test]
fn no_order_of_events_breaks_a_promise() {
    explore("one connection", ONE);
    explore("one connection, through a reload", THROUGH_A_RELOAD);
}

#[test]
fn connections_do_not_affect_each_other() {
    explore("two connections", TWO);
}

#[test]
fn connectors_that_lie_do_not_disturb_the_order_of_records() {
    explore("connectors that lie", WITH_LIARS);
}

/// Faults of earlier versions, which the search must find.
#[test]
fn the_search_finds_known_faults() {
    let faults: [(&str, Step); 6] = [
        ("a session that is reported as lost is forgotten", |state, event| match (state, event) {
            (State::Open { gateway }, Event::Reported(by, GatewayReport::Lost)) if by == gateway => {
                (State::Waiting { deaths: 0 }, Effects { offer: true, ..Effects::default() })
            }
            _ => step(state, event),
        }),
        ("the end of a connection is believed before the connector has spoken", |state, event| {
            match (state, event) {
                (
                    State::Unread { gateway, .. } | State::Reading { gateway, .. },
                    Event::Reported(by, GatewayReport::Ended { session: false }),
                ) if by == gateway => (State::Over, Effects::default()),
                _ => step(state, event),
            }
        }),
        ("what is reported as lost is offered again at once", |state, event| match (state, event) {
            (State::Unread { gateway, deaths, .. }, Event::Reported(by, GatewayReport::Lost))
                if by == gateway =>
            {
                (State::Waiting { deaths }, Effects { offer: true, ..Effects::default() })
            }
            _ => step(state, event),
        }),
        ("a session without a target waits for ever", |state, event| match (state, event) {
            (State::Closing { then: Then::Claim, .. }, Event::Settled) => (state, Effects::default()),
            _ => step(state, event),
        }),
        ("a session without a target is recorded", |state, event| match (state, event) {
            (State::Closing { then: Then::Claim, .. }, Event::Settled) => {
                (State::Over, Effects { open: true, close: true, ..Effects::default() })
            }
            _ => step(state, event),
        }),
        ("a connection is lost with its gateway", |state, event| match (state, event) {
            (State::Unread { gateway, doubt, .. }, Event::GatewayDied(died)) if died == gateway => {
                let then = Then::Drop;
                (State::Closing { gateway, then, doubt }, Effects { settle: true, ..Effects::default() })
            }
            _ => step(state, event),
        }),
    ];
    for (fault, step) in faults {
        let broken = search(ONE, step);
        println!("{fault}: {broken:?}");
        assert!(broken.is_err(), "not found: {fault}");
    }
}

/// Random walks of the table and the model together. The table must agree with the model, across upgrades as
/// well.
#[test]
fn the_table_agrees_with_the_machine() {
    let cast = Cast { connections: 2, generations: [0, 1], replacements: (9, 9), connectors_lie: false };
    let mut random = 1_u64;
    for walk in 0..300 {
        let mut world = World::new(cast);
        let mut table = Table::new(&world, cast);
        for _ in 0..60 {
            let acts = world.acts(cast);
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let Some(act) = acts.get((random >> 33) as usize % acts.len().max(1)).copied() else { break };
            if let Some(op) = world.act(cast, step, act).unwrap() {
                table.follow(op, &world, cast);
            }
            table.compare(&world, &format!("walk {walk}, {act:?}"));
            if random % 16 == 0 {
                table.upgrade();
            }
        }
    }
}
