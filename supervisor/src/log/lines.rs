//! Lines for standard error, which may be a pipe that nobody reads: they wait here, and when too many
//! wait they are dropped and counted. The service itself never waits.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::stderr;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Bytes that may wait.
const MAX_WAITING: usize = 256 << 10;

/// Bytes that a pipe takes at once when it says that it can be written to (pipe(7), `PIPE_BUF`).
const MAX_WRITE: usize = 4096;

/// How long to wait before a full pipe is looked at again.
const RETRY: Duration = Duration::from_millis(20);

/// How long the last lines may take at the end.
const LAST: Duration = Duration::from_millis(200);

/// Lines that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: VecDeque<u8>,
    dropped: u64,
}

impl Lines {
    /// Adds a line, its newline included.
    pub(super) fn push(&self, line: &str) {
        // Whoever panicked with the lock held has left bytes that are as good as any.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.bytes.len() + line.len() > MAX_WAITING {
            waiting.dropped += 1;
            return;
        }
        if waiting.dropped > 0 {
            let told = format!("{} log lines were dropped\n", std::mem::take(&mut waiting.dropped));
            waiting.bytes.extend(told.as_bytes());
        }
        waiting.bytes.extend(line.as_bytes());
        self.filled.notify_one();
    }

    /// Writes what comes in.
    pub(crate) async fn keep_writing(self: std::sync::Arc<Self>) {
        loop {
            self.filled.notified().await;
            // Whatever else happens in this turn may still add its line.
            tokio::task::yield_now().await;
            while !self.write(Duration::ZERO) {
                sleep(RETRY).await;
            }
        }
    }

    /// Writes what waits at the end, if somebody reads it.
    pub(crate) fn write_last(&self) {
        self.write(LAST);
    }

    /// Writes as much as standard error takes, waiting `patience` for each piece; says whether nothing
    /// is left.
    fn write(&self, patience: Duration) -> bool {
        let patience = Timespec::try_from(patience).unwrap_or_default();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while !waiting.bytes.is_empty() {
            let (piece, _) = waiting.bytes.as_slices();
            let piece = piece.get(..MAX_WRITE).unwrap_or(piece);
            let stderr = stderr();
            let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
            if !matches!(poll(&mut ready, Some(&patience)), Ok(1)) {
                return false;
            }
            match rustix::io::write(stderr, piece) {
                Ok(written) => drop(waiting.bytes.drain(..written)),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return false,
                // Nobody will ever read it.
                Err(_) => waiting.bytes.clear(),
            }
        }
        true
    }
}
