//! Scheduling of dials, so that no target and no client delays others.
//!
//! A target that does not answer occupies its dial until the deadline. Therefore only a part of the
//! concurrent dials may be for one target, and a part for one client. A waiting dial blocks no place that
//! another could use: a turn is given only when target, client and connector all have room for it. Targets
//! take turns.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::ops::Bound;
use std::rc::Rc;

use common::config::PerTarget;
use common::ipc::ClientAddr;
use tokio::sync::oneshot;

/// Maximum number of concurrent dials. Each takes a descriptor, and a thread while its name is resolved.
const MAX: usize = PerTarget::MAX_DIALS as usize;

/// Maximum for one client. It is higher than that for one target because a proxy counts as one client: an
/// unreachable target must not delay all others behind the proxy.
const MAX_OF_CLIENT: usize = 128;

/// Default maximum for one of several targets. A reachable target needs its turn for milliseconds only.
const MAX_OF_TARGET: NonZeroU32 = NonZeroU32::new(16).expect("is not zero");

/// The scheduler of dials.
#[derive(Clone, Debug)]
pub(super) struct Turns(Rc<RefCell<Queues>>);

/// The right to dial, which is returned when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    target: String,
    source: Source,
}

#[derive(Debug)]
struct Queues {
    max_of_target: usize,
    taken: usize,
    of_sources: BTreeMap<Source, usize>,
    /// Targets that are being dialled or waited for.
    targets: BTreeMap<String, Queue>,
    /// The target that got the last turn.
    last: String,
    next_number: u64,
}

#[derive(Debug, Default)]
struct Queue {
    taken: usize,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    source: Source,
    turn: oneshot::Sender<Turn>,
}

/// The unit that counts as one client: an IPv4 address, or an IPv6 /64 network, of which a host usually has a whole
/// one (RFC 4291 section 2.5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    V4(Ipv4Addr),
    V6([u16; 4]),
    Unix,
}

impl Source {
    pub(super) fn of(client: &ClientAddr) -> Self {
        match client {
            ClientAddr::Ip(address) => match address.ip().to_canonical() {
                IpAddr::V4(address) => Self::V4(address),
                IpAddr::V6(address) => {
                    let [a, b, c, d, ..] = address.segments();
                    Self::V6([a, b, c, d])
                }
            },
            ClientAddr::Unix(_) => Self::Unix,
        }
    }
}

impl Turns {
    /// Allows `dials` concurrent dials of one target. By default, a single target has all of them, and each of several
    /// targets 16.
    pub(super) fn new(dials: Option<NonZeroU32>, has_several_targets: bool) -> Self {
        let dials = dials.or(has_several_targets.then_some(MAX_OF_TARGET));
        Self::with(dials.map_or(MAX, |dials| dials.get() as usize))
    }

    fn with(max_of_target: usize) -> Self {
        Self(Rc::new(RefCell::new(Queues {
            max_of_target,
            taken: 0,
            of_sources: BTreeMap::new(),
            targets: BTreeMap::new(),
            last: String::new(),
            next_number: 0,
        })))
    }

    /// Waits for a turn. Dropping the future gives up the place in the queue.
    pub(super) async fn take(&self, target: String, client: &ClientAddr) -> Turn {
        let (sender, turn) = oneshot::channel();
        let number = self.0.borrow_mut().enter(target.clone(), Source::of(client), sender);
        let _place = Place { turns: self, target, number };
        self.give();
        match turn.await {
            Ok(turn) => turn,
            // The sender is dropped without a turn only together with the place.
            Err(_) => pending().await,
        }
    }

    /// Gives turns to all dials that may have one.
    fn give(&self) {
        loop {
            let next = self.0.borrow_mut().next();
            let Some((waiter, target)) = next else { return };
            let turn = Turn { turns: self.clone(), target, source: waiter.source };
            // If the receiver is gone, the turn is returned by dropping it.
            let _ = waiter.turn.send(turn);
        }
    }
}

/// A place in the queue, which is left when dropped.
struct Place<'a> {
    turns: &'a Turns,
    target: String,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turns.0.borrow_mut().leave(&self.target, self.number);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.0.borrow_mut().give_back(&self.target, self.source);
        self.turns.give();
    }
}

impl Queues {
    fn enter(&mut self, target: String, source: Source, turn: oneshot::Sender<Turn>) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.targets.entry(target).or_default().waiting.push_back(Waiter { number, source, turn });
        number
    }

    fn leave(&mut self, target: &str, number: u64) {
        if let Some(queue) = self.targets.get_mut(target) {
            queue.waiting.retain(|waiter| waiter.number != number);
            self.forget_if_unused(target);
        }
    }

    /// Removes the dial that has the next turn. The search begins after the target of the last turn.
    fn next(&mut self) -> Option<(Waiter, String)> {
        if self.taken >= MAX {
            return None;
        }
        let (target, index) = {
            let behind = (Bound::Excluded(self.last.as_str()), Bound::Unbounded);
            let up_to = (Bound::Unbounded, Bound::Included(self.last.as_str()));
            let in_turn = self.targets.range::<str, _>(behind).chain(self.targets.range::<str, _>(up_to));
            let mut ready = in_turn.filter(|(_, queue)| queue.taken < self.max_of_target);
            ready.find_map(|(target, queue)| {
                let index = queue.waiting.iter().position(|waiter| self.has_room(waiter.source))?;
                Some((target.clone(), index))
            })?
        };
        let queue = self.targets.get_mut(&target)?;
        let waiter = queue.waiting.remove(index)?;
        queue.taken += 1;
        self.taken += 1;
        *self.of_sources.entry(waiter.source).or_default() += 1;
        self.last.clone_from(&target);
        Some((waiter, target))
    }

    fn has_room(&self, source: Source) -> bool {
        self.of_sources.get(&source).is_none_or(|taken| *taken < MAX_OF_CLIENT)
    }

    fn give_back(&mut self, target: &str, source: Source) {
        self.taken -= 1;
        if let Some(taken) = self.of_sources.get_mut(&source) {
            *taken -= 1;
            if *taken == 0 {
                self.of_sources.remove(&source);
            }
        }
        if let Some(queue) = self.targets.get_mut(target) {
            queue.taken -= 1;
        }
        self.forget_if_unused(target);
    }

    fn forget_if_unused(&mut self, target: &str) {
        if self.targets.get(target).is_some_and(|queue| queue.taken == 0 && queue.waiting.is_empty()) {
            self.targets.remove(target);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Polls a future once and returns its result, if it is ready.
    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn client(last: u8) -> ClientAddr {
        ClientAddr::Ip(([192, 0, 2, last], 40000).into())
    }

    fn take(turns: &Turns, target: &str, from: u8) -> Option<Turn> {
        now(turns.take(target.into(), &client(from)))
    }

    fn take_all(turns: &Turns, target: &str, from: u8) -> Vec<Turn> {
        std::iter::from_fn(|| take(turns, target, from)).collect()
    }

    #[test]
    fn no_target_takes_the_turns_of_another() {
        let turns = Turns::new(None, true);
        let off = take_all(&turns, "off", 1);
        assert_eq!(off.len(), 16);
        assert!(take(&turns, "on", 1).is_some());
        drop(off);
        assert!(take(&turns, "off", 2).is_some());
        assert!(turns.0.borrow().targets.is_empty(), "nothing is kept of targets that nobody wants");
        assert!(turns.0.borrow().of_sources.is_empty());
    }

    #[test]
    fn no_client_takes_the_turns_of_another() {
        let turns = Turns::new(None, true);
        let all: Vec<_> = (0..100).flat_map(|target| take_all(&turns, &format!("off{target}"), 1)).collect();
        assert_eq!(all.len(), MAX_OF_CLIENT);
        assert!(take(&turns, "on", 1).is_none());
        assert!(take(&turns, "on", 2).is_some());
    }

    #[test]
    fn there_is_a_bound_for_all() {
        let turns = Turns::new(None, false);
        let all: Vec<_> = (0..=255).flat_map(|from| take_all(&turns, "one", from)).collect();
        assert_eq!(all.len(), MAX);
    }

    #[test]
    fn a_waiting_dial_comes_next_and_one_that_was_dropped_blocks_no_other() {
        let turns = Turns::new(NonZeroU32::new(1), true);
        let (first, other) = (take(&turns, "a", 1).unwrap(), take(&turns, "b", 1).unwrap());
        let (second, third) = (client(2), client(3));
        let mut gone = Box::pin(turns.take("a".into(), &second));
        let mut waits = Box::pin(turns.take("a".into(), &third));
        assert!(now(&mut gone).is_none() && now(&mut waits).is_none());
        drop(gone);
        drop(other);
        assert!(now(&mut waits).is_none(), "another target's end is no turn for this one");
        drop(first);
        assert!(now(&mut waits).is_some());
    }

    #[test]
    fn a_turn_that_comes_too_late_is_given_to_the_next() {
        let turns = Turns::new(NonZeroU32::new(1), true);
        let first = take(&turns, "a", 1).unwrap();
        let (second, third) = (client(2), client(3));
        let mut late = Box::pin(turns.take("a".into(), &second));
        let mut waits = Box::pin(turns.take("a".into(), &third));
        assert!(now(&mut late).is_none() && now(&mut waits).is_none());
        drop(first);
        // The turn has been given, but is never taken.
        drop(late);
        assert!(now(&mut waits).is_some());
    }

    #[test]
    fn targets_come_one_after_the_other() {
        let turns = Turns::new(NonZeroU32::new(1), true);
        let full = (0..MAX).map(|n| take(&turns, &format!("off{n}"), u8::try_from(n).unwrap()).unwrap());
        let mut full: Vec<_> = full.collect();
        let mut queues = turns.0.borrow_mut();
        for (target, from) in [("x", 1), ("x", 2), ("y", 3), ("y", 4)] {
            queues.enter(target.into(), Source::of(&client(from)), oneshot::channel().0);
        }
        queues.max_of_target = 2;
        drop(queues);
        let mut had = Vec::new();
        while let Some(turn) = full.pop() {
            turns.0.borrow_mut().give_back(&turn.target, turn.source);
            std::mem::forget(turn);
            had.extend(turns.0.borrow_mut().next().map(|(_, target)| target));
        }
        assert_eq!(had, ["x", "y", "x", "y"]);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let of = |text: &str| Source::of(&ClientAddr::Ip(text.parse().unwrap()));
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::ffff:2]:9"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db8:0:1::1]:1"));
        assert_eq!(of("[::ffff:192.0.2.7]:1"), of("192.0.2.7:2"));
    }
}
