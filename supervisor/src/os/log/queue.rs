//! A queue of entries for a log destination. A thread of its own writes them, and may be blocked by the
//! destination: a pipe that is not read, a stopped terminal, a disk that hangs, or a journal that does not
//! read. The service never blocks: entries that find no room are dropped and counted.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow};

/// Maximum size of the entries in a queue, in bytes.
pub(super) const MAX_WAITING: usize = 256 << 10;

/// Time for which the thread waits for further entries after the first one, so that a thousand connections a
/// second do not wake it for each line.
const GATHERING: Duration = Duration::from_millis(2);

/// Stack of the thread in bytes. It only formats and writes.
const STACK: usize = 256 << 10;

/// Entries that wait for the writing thread.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Waiting<T> {
    entries: VecDeque<T>,
    bytes: usize,
    /// Number of dropped entries that the log does not mention yet.
    untold: u64,
    /// Number of entries that were dropped since the start.
    dropped: u64,
    /// The thread has entries that it has not written yet.
    is_writing: bool,
    /// The thread waits for a notification.
    is_idle: bool,
}

/// Entries to be written together.
#[derive(Debug)]
pub(super) struct Batch<T> {
    /// The entries in their order.
    pub(super) entries: VecDeque<T>,
    /// Number of entries that were dropped after them.
    pub(super) dropped: u64,
}

impl<T: Send + 'static> Queue<T> {
    /// Starts a thread that calls `write` with the entries as they arrive.
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
        // Signals are for the event loop. In an upgrade it must be able to hold them back.
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

    /// Adds an entry of this size, if there is room.
    pub(super) fn push(&self, entry: T, bytes: usize) {
        let mut waiting = self.lock();
        // After dropped entries, the next one waits until the log mentions the gap.
        if waiting.untold > 0 || waiting.bytes + bytes > MAX_WAITING {
            waiting.drop_entries(1);
        } else {
            waiting.bytes += bytes;
            waiting.entries.push_back(entry);
        }
        self.wake(waiting);
    }

    /// Adds an order for the thread, even if there is no room.
    pub(super) fn order(&self, entry: T) {
        let mut waiting = self.lock();
        waiting.entries.push_back(entry);
        self.wake(waiting);
    }

    /// Wakes the thread, unless it is awake. Each notification is a system call.
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
    /// Counts entries that the thread has taken but could not write. The log mentions them with the next
    /// entry.
    pub(super) fn lose(&self, count: u64) {
        self.lock().dropped += count;
    }

    /// Number of entries that were dropped since the start.
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
        // A panic with the lock held can't leave an incomplete entry.
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
    fn adding_entries_never_blocks_and_dropped_ones_are_counted() {
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
