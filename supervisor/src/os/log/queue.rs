//! Entries on their way to a log: a file, standard error, or the journal. A thread of its own writes them and may be
//! kept waiting by whoever is behind the log: a pipe that nobody reads, a terminal that is stopped, a disk that hangs,
//! a journal that does not read. The service never waits: entries that find no room are dropped and counted.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow};

/// Bytes that may wait for one log.
pub(super) const MAX_WAITING: usize = 256 << 10;

/// How long the thread waits for further entries when one has come, so that it is not woken for each line of a thousand
/// connections in a second.
const GATHERING: Duration = Duration::from_millis(2);

/// What the thread of a log needs: it formats and writes.
const STACK: usize = 256 << 10;

/// Entries that wait for the thread that writes them.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Waiting<T> {
    entries: VecDeque<T>,
    bytes: usize,
    /// So many were dropped, and the log does not say so yet.
    untold: u64,
    /// So many were dropped since the start.
    dropped: u64,
    /// The thread has entries that it has not written.
    is_writing: bool,
    /// The thread waits to be told of entries.
    is_idle: bool,
}

/// What the thread is to write.
#[derive(Debug)]
pub(super) struct Batch<T> {
    /// In their order.
    pub(super) entries: VecDeque<T>,
    /// So many behind them were dropped.
    pub(super) dropped: u64,
}

impl<T: Send + 'static> Queue<T> {
    /// Has `write` called with what comes in, on a thread of its own.
    pub(super) fn start(mut write: impl FnMut(&Self, Batch<T>) + Send + 'static) -> io::Result<Arc<Self>> {
        let waiting = Waiting {
            entries: VecDeque::new(),
            bytes: 0,
            untold: 0,
            dropped: 0,
            is_writing: false,
            is_idle: false,
        };
        let queue = Arc::new(Self { waiting: Mutex::new(waiting), changed: Condvar::new() });
        let taken = queue.clone();
        // Signals are for the event loop: an upgrade holds back those that come meanwhile.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let started = thread::Builder::new().name("log".into()).stack_size(STACK).spawn(move || {
            loop {
                let batch = taken.take();
                write(&taken, batch);
            }
        });
        before.thread_set_mask()?;
        started.map(|_| queue)
    }

    /// Adds an entry of so many bytes, if there is room.
    pub(super) fn push(&self, entry: T, bytes: usize) {
        let mut waiting = self.lock();
        // Behind entries that were dropped there is room when the log says that they were.
        if waiting.untold > 0 || waiting.bytes + bytes > MAX_WAITING {
            waiting.drop_entries(1);
        } else {
            waiting.bytes += bytes;
            waiting.entries.push_back(entry);
        }
        self.wake(waiting);
    }

    /// Adds an order for the thread, whether there is room or not.
    pub(super) fn order(&self, entry: T) {
        let mut waiting = self.lock();
        waiting.entries.push_back(entry);
        self.wake(waiting);
    }

    /// Tells the thread of an entry, unless it was told before. Each notification is a system call.
    fn wake(&self, mut waiting: MutexGuard<'_, Waiting<T>>) {
        if std::mem::take(&mut waiting.is_idle) {
            drop(waiting);
            self.changed.notify_all();
        }
    }

    /// Waits until there is something to write.
    fn take(&self) -> Batch<T> {
        let mut waiting = self.lock();
        waiting.is_writing = false;
        self.changed.notify_all();
        while waiting.entries.is_empty() && waiting.untold == 0 {
            waiting.is_idle = true;
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.is_idle = false;
        drop(waiting);
        thread::sleep(GATHERING);
        let mut waiting = self.lock();
        waiting.is_writing = true;
        waiting.bytes = 0;
        Batch { entries: std::mem::take(&mut waiting.entries), dropped: std::mem::take(&mut waiting.untold) }
    }
}

impl<T> Queue<T> {
    /// So many entries that the thread has taken could not be written. The log says so with the next that can.
    pub(super) fn lose(&self, count: u64) {
        self.lock().dropped += count;
    }

    /// How many entries were dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Waits until everything is written, or until `deadline`.
    pub(super) fn drain(&self, deadline: Instant) {
        let mut waiting = self.lock();
        while waiting.is_writing || !waiting.entries.is_empty() || waiting.untold > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            waiting = self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        // Whoever panicked with the lock held has left whole entries.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Waiting<T> {
    fn drop_entries(&mut self, count: u64) {
        self.untold = self.untold.saturating_add(count);
        self.dropped = self.dropped.saturating_add(count);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_adds_entries_never_waits_and_what_finds_no_room_is_counted() {
        let (go_on, stuck) = mpsc::channel();
        let (written, seen) = mpsc::channel();
        let queue = Queue::start(move |_, batch: Batch<u32>| {
            stuck.recv().unwrap();
            written.send((batch.entries.into_iter().collect::<Vec<_>>(), batch.dropped)).unwrap();
        })
        .unwrap();
        queue.push(0, 1);
        while !queue.lock().is_writing {
            thread::yield_now();
        }
        for number in 1..=10 {
            queue.push(number, MAX_WAITING / 4);
        }
        queue.drain(Instant::now() + Duration::from_millis(20));
        assert_eq!(queue.dropped(), 6);
        go_on.send(()).unwrap();
        go_on.send(()).unwrap();
        assert_eq!(seen.recv().unwrap(), (vec![0], 0));
        assert_eq!(seen.recv().unwrap(), (vec![1, 2, 3, 4], 6));
        queue.push(11, 1);
        go_on.send(()).unwrap();
        queue.drain(Instant::now() + Duration::from_secs(10));
        assert_eq!(seen.try_recv().unwrap(), (vec![11], 0));
    }
}
