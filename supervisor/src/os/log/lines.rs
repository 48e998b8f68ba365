//! Lines on their way to a stream of bytes: standard error, which may be a pipe that nobody reads, or a
//! file. They wait here, and when too many wait they are dropped and counted. The service itself never
//! waits.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
#[derive(Debug)]
pub(crate) struct Lines {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug)]
struct Waiting {
    stream: OwnedFd,
    bytes: VecDeque<u8>,
    dropped: u64,
}

impl Lines {
    /// Writes to `stream`.
    pub(super) fn to(stream: OwnedFd) -> Arc<Self> {
        let waiting = Waiting { stream, bytes: VecDeque::new(), dropped: 0 };
        Arc::new(Self { waiting: Mutex::new(waiting), filled: Notify::new() })
    }

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

    /// Writes to another stream from now on, after what the one before still takes.
    pub(super) fn redirect(&self, stream: OwnedFd) {
        self.write(Duration::ZERO);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).stream = stream;
    }

    /// Writes what comes in.
    pub(super) async fn keep_writing(self: Arc<Self>) {
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
    pub(super) fn write_last(&self) {
        self.write(LAST);
    }

    /// Writes as much as the stream takes, waiting `patience` for each piece; says whether nothing is
    /// left.
    fn write(&self, patience: Duration) -> bool {
        let patience = Timespec::try_from(patience).unwrap_or_default();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while !waiting.bytes.is_empty() {
            let (piece, _) = waiting.bytes.as_slices();
            let piece = piece.get(..MAX_WRITE).unwrap_or(piece);
            let mut ready = [PollFd::new(&waiting.stream, PollFlags::OUT)];
            if !matches!(poll(&mut ready, Some(&patience)), Ok(1)) {
                return false;
            }
            match rustix::io::write(&waiting.stream, piece) {
                Ok(written) => drop(waiting.bytes.drain(..written)),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return false,
                // Nobody will ever read it, or the disk is full.
                Err(_) => {
                    let lost = waiting.bytes.iter().filter(|byte| **byte == b'\n').count();
                    waiting.dropped += lost as u64;
                    waiting.bytes.clear();
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn lines_that_find_no_room_are_counted() {
        let (reader, writer) = UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        let lines = Lines::to(writer.into());
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..MAX_WAITING / 1024 + 3 {
            lines.push(&line);
        }
        // The pipe takes a part, so that there is room again.
        assert!(!lines.write(Duration::ZERO));
        lines.push("last\n");
        let (other, writer) = UnixStream::pair().unwrap();
        lines.redirect(writer.into());
        drop(other);
        let mut first = String::new();
        (&reader).take(1024).read_to_string(&mut first).unwrap();
        assert_eq!(first, line);
        assert!(lines.write(Duration::ZERO), "nobody reads any more");
        let waiting = lines.waiting.lock().unwrap();
        assert!(waiting.bytes.is_empty() && waiting.dropped > 3);
    }
}
