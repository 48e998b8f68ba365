//! Scheduling of TLS handshakes, so that a burst of them delays neither sessions nor the handshakes of other
//! clients.
//!
//! A step of a handshake blocks the event loop for up to some milliseconds, above all a signature with a long
//! RSA key. When steps have taken [`BUDGET`], everything else that is ready runs first. Waiting handshakes
//! then take turns by client address, one step each.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::net::IpAddr;
use std::ops::Bound;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use common::ipc::ClientAddr;
use tokio::task::{spawn_local, yield_now};

/// Time that steps may take before everything else runs. A handshake with an elliptic-curve key takes less.
const BUDGET: Duration = Duration::from_millis(1);

/// The scheduler of a gateway's handshakes.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct Turns(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: RefCell<Waiting>,
    /// Time that steps have taken since everything else ran last.
    spent: Cell<Duration>,
    /// Everything else runs now.
    resting: Cell<bool>,
    /// Number of the handshake that has the next turn.
    next: Cell<Option<u64>>,
    last_number: Cell<u64>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Waiting handshakes by client address. `None` is the key of clients of unix sockets.
    of_sources: BTreeMap<Option<IpAddr>, VecDeque<(u64, Waker)>>,
    /// Address of the handshake that had the last turn.
    last: Option<IpAddr>,
}

/// A handshake that takes turns.
struct Participant {
    turns: Turns,
    source: Option<IpAddr>,
    number: u64,
}

impl Turns {
    /// Runs a handshake in turn with others. A step is what happens between two waits for the client.
    pub(in crate::gateway) async fn run<T>(
        &self,
        client: &ClientAddr,
        handshake: impl Future<Output = T>,
    ) -> T {
        let participant = self.enter(client);
        let mut handshake = pin!(handshake);
        poll_fn(|cx| {
            if !participant.may_go() {
                participant.wait(cx.waker());
                return Poll::Pending;
            }
            let began = Instant::now();
            let done = handshake.as_mut().poll(cx);
            self.0.spent.set(self.0.spent.get() + began.elapsed());
            participant.has_gone();
            done
        })
        .await
    }

    fn enter(&self, client: &ClientAddr) -> Participant {
        let number = self.0.last_number.get() + 1;
        self.0.last_number.set(number);
        let source = match client {
            ClientAddr::Ip(address) => Some(address.ip().to_canonical()),
            ClientAddr::Unix(_) => None,
        };
        Participant { turns: self.clone(), source, number }
    }

    /// Gives the turn to the next handshake, or to everything else.
    fn go_on(&self) {
        let shared = &self.0;
        if shared.resting.get() || shared.next.get().is_some() {
            return;
        }
        if shared.spent.get() < BUDGET {
            shared.next_turn();
            return;
        }
        shared.resting.set(true);
        let turns = self.clone();
        spawn_local(async move {
            // Resumes after all ready tasks have run and the sockets have been polled.
            yield_now().await;
            turns.0.spent.set(Duration::ZERO);
            turns.0.resting.set(false);
            turns.0.next_turn();
        });
    }
}

impl Shared {
    fn next_turn(&self) {
        if let Some((number, waker)) = self.waiting.borrow_mut().take() {
            self.next.set(Some(number));
            waker.wake();
        }
    }
}

impl Waiting {
    /// Removes the first handshake of the address that follows the one of the last turn.
    fn take(&mut self) -> Option<(u64, Waker)> {
        let behind = self.of_sources.range((Bound::Excluded(self.last), Bound::Unbounded)).next();
        let source = *behind.or_else(|| self.of_sources.iter().next())?.0;
        let queue = self.of_sources.get_mut(&source)?;
        let first = queue.pop_front();
        if queue.is_empty() {
            self.of_sources.remove(&source);
        }
        self.last = source;
        first
    }

    fn remove(&mut self, source: Option<IpAddr>, number: u64) {
        if let Some(queue) = self.of_sources.get_mut(&source) {
            queue.retain(|(waiting, _)| *waiting != number);
            if queue.is_empty() {
                self.of_sources.remove(&source);
            }
        }
    }
}

impl Participant {
    fn may_go(&self) -> bool {
        let shared = &self.turns.0;
        match shared.next.get() {
            Some(next) => next == self.number,
            None => !shared.resting.get() && shared.waiting.borrow().of_sources.is_empty(),
        }
    }

    fn wait(&self, waker: &Waker) {
        let mut waiting = self.turns.0.waiting.borrow_mut();
        let queue = waiting.of_sources.entry(self.source).or_default();
        match queue.iter_mut().find(|(number, _)| *number == self.number) {
            Some((_, before)) => before.clone_from(waker),
            None => queue.push_back((self.number, waker.clone())),
        }
    }

    fn has_gone(&self) {
        let shared = &self.turns.0;
        if shared.next.get() == Some(self.number) {
            shared.next.set(None);
        }
        self.turns.go_on();
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        self.turns.0.waiting.borrow_mut().remove(self.source, self.number);
        if self.turns.0.next.get() == Some(self.number) {
            self.turns.0.next.set(None);
            self.turns.go_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    /// Duration of a signature with a long key.
    const STEP: Duration = Duration::from_millis(2);

    fn client(last: u8) -> ClientAddr {
        ClientAddr::Ip(([192, 0, 2, last], 40000).into())
    }

    /// Starts handshakes of one client, each of which blocks for one step and records its client.
    fn burst(tasks: &mut JoinSet<()>, turns: &Turns, order: &Rc<RefCell<Vec<u8>>>, from: u8, count: u32) {
        for _ in 0..count {
            let (turns, order) = (turns.clone(), order.clone());
            tasks.spawn_local(async move {
                let step = async {
                    sleep(STEP);
                    order.borrow_mut().push(from);
                };
                turns.run(&client(from), step).await;
            });
        }
    }

    async fn all(tasks: JoinSet<()>) {
        timeout(Duration::from_secs(20), tasks.join_all()).await.expect("a turn was lost");
    }

    fn run(test: impl Future<Output = ()> + 'static) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn a_burst_of_one_client_lets_everything_else_go_first() {
        run(async {
            let (mut tasks, turns, order) = (JoinSet::new(), Turns::default(), Rc::default());
            burst(&mut tasks, &turns, &order, 1, 100);
            let session = spawn_local(async {
                let mut longest = Duration::ZERO;
                for _ in 0..20 {
                    let began = Instant::now();
                    yield_now().await;
                    longest = longest.max(began.elapsed());
                }
                longest
            });
            let longest = session.await.unwrap();
            assert!(longest < 10 * STEP, "{longest:?}");
            assert!(order.borrow().len() < 100, "the burst came first");
            all(tasks).await;
        });
    }

    #[test]
    fn clients_come_in_turn() {
        run(async {
            let (mut tasks, turns, order) = (JoinSet::new(), Turns::default(), Rc::default());
            burst(&mut tasks, &turns, &order, 1, 50);
            burst(&mut tasks, &turns, &order, 2, 2);
            burst(&mut tasks, &turns, &order, 3, 1);
            all(tasks).await;
            let order = order.borrow();
            let last = |from| order.iter().rposition(|one| *one == from).unwrap();
            assert!(last(2) < 8 && last(3) < 8, "{order:?}");
        });
    }

    #[test]
    fn a_client_that_has_gone_leaves_its_turn_to_others() {
        run(async {
            let (mut tasks, turns, order) = (JoinSet::new(), Turns::default(), Rc::default());
            burst(&mut tasks, &turns, &order, 1, 20);
            let mut gone = JoinSet::new();
            burst(&mut gone, &turns, &Rc::default(), 2, 20);
            for _ in 0..3 {
                yield_now().await;
            }
            drop(gone);
            all(tasks).await;
            assert_eq!(order.borrow().len(), 20);
            assert!(turns.0.waiting.borrow().of_sources.is_empty());
        });
    }

    #[test]
    fn a_handshake_that_waits_for_its_client_blocks_no_other() {
        run(async {
            let (mut tasks, turns, order) = (JoinSet::new(), Turns::default(), Rc::default());
            let silent = turns.clone();
            tasks.spawn_local(async move {
                let waits = async { tokio::time::sleep(5 * STEP).await };
                silent.run(&client(9), waits).await;
            });
            burst(&mut tasks, &turns, &order, 1, 10);
            all(tasks).await;
        });
    }
}
