//! Verifies passwords on threads of their own, since a hash takes as long as thousands of other requests.
//!
//! There are at most half as many threads as processors, and they give way to everything else. Sources of connections
//! take turns, so that whoever tries many passwords delays the others by one hash at a time.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::num::NonZeroUsize;
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use argon2::{Argon2, PasswordVerifier};
use common::config::Secret;
use common::ipc::ClientAddr;
use common::ipc::setup::LOOKUP_DEADLINE;
use common::sys::rehearsal::survives;
use common::sys::scheduling;
use sha_crypt::ShaCrypt;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::turns::Source;

/// Maximum number of threads. Each may need the memory of a hash by Argon2.
const MAX_THREADS: usize = 4;

/// Maximum number of passwords that wait.
const MAX_WAITING: usize = 256;

/// Maximum number for one source. A proxy counts as one.
const MAX_OF_SOURCE: usize = 64;

/// Too many passwords wait, or no thread can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// The threads, which end with the process, and what waits for them.
#[derive(Debug)]
pub(super) struct Hashing {
    queue: Arc<SharedQueue>,
    threads: usize,
    /// The threads may lower their priority.
    gives_way: bool,
}

#[derive(Debug, Default)]
struct SharedQueue {
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: BTreeMap<Source, VecDeque<Job>>,
    /// The source that had the last turn.
    last: Option<Source>,
    has_threads: bool,
}

#[derive(Debug)]
struct Job {
    hash: Secret,
    password: Secret,
    /// Closed if nobody waits for the answer any more.
    answer: oneshot::Sender<bool>,
}

impl Hashing {
    /// Prepares for the threads, which are started with the first password. To be called before the sandbox is entered.
    pub(super) fn new() -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            queue: Arc::default(),
            threads: (processors / 2).clamp(1, MAX_THREADS),
            gives_way: survives(scheduling::give_way),
        }
    }

    /// Whether `password` is the one that `hash` was made of. Dropping the future gives up the place in the queue.
    ///
    /// # Errors
    ///
    /// Fails if too many passwords wait, and after [`LOOKUP_DEADLINE`].
    pub(super) async fn verify(
        &self,
        client: &ClientAddr,
        hash: Secret,
        password: Secret,
    ) -> Result<bool, Busy> {
        let (sender, answer) = oneshot::channel();
        self.queue.lock().push(Source::of(client), Job { hash, password, answer: sender })?;
        self.start_threads()?;
        self.queue.filled.notify_one();
        timeout(LOOKUP_DEADLINE, answer).await.map_err(|_| Busy)?.map_err(|_| Busy)
    }

    fn start_threads(&self) -> Result<(), Busy> {
        let mut queue = self.queue.lock();
        if queue.has_threads {
            return Ok(());
        }
        for number in 0..self.threads {
            match self.start_thread() {
                Ok(()) => queue.has_threads = true,
                Err(error) if number == 0 => {
                    tracing::error!("cannot start a thread that verifies passwords: {error}");
                    return Err(Busy);
                }
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn start_thread(&self) -> io::Result<()> {
        let (queue, gives_way) = (self.queue.clone(), self.gives_way);
        let work = move || {
            if gives_way {
                scheduling::give_way();
            }
            loop {
                let Job { hash, password, answer } = queue.next();
                if !answer.is_closed() {
                    // Fails if the client has gone meanwhile.
                    let _ = answer.send(is_of(hash.reveal(), password.reveal()));
                }
            }
        };
        thread::Builder::new().name("passwords".into()).spawn(work).map(drop)
    }
}

impl SharedQueue {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next password.
    fn next(&self) -> Job {
        let mut queue = self.lock();
        loop {
            match queue.pop() {
                Some(job) => return job,
                None => queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl Queue {
    fn push(&mut self, source: Source, job: Job) -> Result<(), Busy> {
        let is_full = |queue: &Self| {
            let count = queue.waiting.values().map(VecDeque::len).sum::<usize>();
            count >= MAX_WAITING || queue.waiting.get(&source).is_some_and(|own| own.len() >= MAX_OF_SOURCE)
        };
        if is_full(self) {
            self.waiting.values_mut().for_each(|jobs| jobs.retain(|job| !job.answer.is_closed()));
            self.waiting.retain(|_, jobs| !jobs.is_empty());
        }
        if is_full(self) {
            return Err(Busy);
        }
        self.waiting.entry(source).or_default().push_back(job);
        Ok(())
    }

    /// Removes the password that has the next turn. The search begins after the source of the last turn.
    fn pop(&mut self) -> Option<Job> {
        let behind = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.waiting.range((behind, Bound::Unbounded)).next();
        let source = *next.or_else(|| self.waiting.iter().next())?.0;
        let jobs = self.waiting.get_mut(&source)?;
        let job = jobs.pop_front();
        if jobs.is_empty() {
            self.waiting.remove(&source);
        }
        self.last = Some(source);
        job
    }
}

/// Whether `password` is the one that `hash` was made of. The form of the hash has been checked.
fn is_of(hash: &str, password: &str) -> bool {
    match hash.as_bytes() {
        [b'$', b'2', ..] => bcrypt::verify(password, hash).unwrap_or(false),
        [b'$', b'5' | b'6', ..] => ShaCrypt::default().verify_password(password.as_bytes(), hash).is_ok(),
        _ => Argon2::default().verify_password(password.as_bytes(), hash).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> (Job, oneshot::Receiver<bool>) {
        let (answer, receiver) = oneshot::channel();
        let secret = || Secret::new(String::new());
        (Job { hash: secret(), password: secret(), answer }, receiver)
    }

    fn source(last: u8) -> Source {
        Source::of(&ClientAddr::Ip(([192, 0, 2, last], 40000).into()))
    }

    #[test]
    fn hashes_of_every_kind_are_verified() {
        // By htpasswd -B, openssl passwd -5 and -6, and argon2(1).
        for hash in [
            "$2y$04$im66u2ntEAcREurqF/OFqO0u0siAbCiz9KrkOCrsrdka3vTV2P/MK",
            "$5$pWMowf7kPleS4UAi$dI1N9XvXdbNyTqkaJtFA6HJY2Fs/whRF.X/C8r5aDg2",
            "$6$IEIVquJ/tYW26H2/$h5fdCNWtRh/cmn9j61RehHSQCDf5OwlB7uyvelocEVBMrkm8UpNcaR23DVGRkopTNCSznlurkqTGrvwywJFie1",
            "$argon2id$v=19$m=1024,t=2,p=1$c29tZXNhbHQ$9kYYFsDGgOhYMsoIUOWujsHJHJ3MFVeRfciyx53+2AU",
        ] {
            assert!(is_of(hash, "pass:wörd"), "{hash}");
            for wrong in ["pass:wörd ", "pass:wör", "", "Pass:wörd"] {
                assert!(!is_of(hash, wrong), "{hash}");
            }
        }
        for broken in ["", "$2y$", "$5$", "$6$x", "$argon2id$", "$argon2id$v=19$m=0,t=0,p=0$$"] {
            assert!(!is_of(broken, ""), "{broken}");
        }
    }

    #[test]
    fn sources_take_turns() {
        let mut queue = Queue::default();
        let mut waiting = Vec::new();
        for from in [1, 1, 1, 2, 3] {
            let (job, receiver) = job();
            queue.push(source(from), job).unwrap();
            waiting.push(receiver);
        }
        let order = std::iter::from_fn(|| queue.pop().map(|_| queue.last)).flatten();
        assert_eq!(order.collect::<Vec<_>>(), [1, 2, 3, 1, 1].map(source));
        assert!(queue.waiting.is_empty());
    }

    #[test]
    fn the_queue_is_bounded_for_each_source_and_for_all() {
        let mut queue = Queue::default();
        let mut waiting = Vec::new();
        let mut fill = |queue: &mut Queue, from| {
            let mut count = 0;
            loop {
                let (job, receiver) = job();
                if queue.push(source(from), job).is_err() {
                    return count;
                }
                waiting.push(receiver);
                count += 1;
            }
        };
        assert_eq!([1, 2, 3, 4, 5].map(|from| fill(&mut queue, from)), [64, 64, 64, 64, 0]);
        queue.pop();
        assert_eq!(fill(&mut queue, 5), 1);
        drop(waiting);
        let (job, _receiver) = job();
        assert_eq!(queue.push(source(1), job), Ok(()), "who has gone keeps no place");
    }
}
