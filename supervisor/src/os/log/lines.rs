//! Lines for a byte stream: standard error, standard output, or a file.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::file;
use super::queue::{Batch, Queue};

/// A queue of lines.
#[derive(Debug)]
pub(crate) struct Lines(Arc<Queue<Entry>>);

/// An order to the writing thread.
#[derive(Debug)]
enum Entry {
    /// Write this text, which includes a newline.
    Text(String),
    /// Write to this stream from now on.
    Redirect(OwnedFd),
    /// Open this log file, and write to it from now on.
    Open(PathBuf),
}

impl Lines {
    /// Writes to `stream`. `tell_dropped` formats the line that says how many were dropped.
    pub(super) fn to(mut stream: OwnedFd, tell_dropped: fn(u64) -> String) -> io::Result<Arc<Self>> {
        let queue = Queue::start(move |queue, batch| write(queue, &mut stream, batch, tell_dropped))?;
        Ok(Arc::new(Self(queue)))
    }

    /// Adds a line, which includes its newline.
    pub(super) fn push(&self, line: &str) {
        self.0.push(Entry::Text(line.to_owned()), line.len());
    }

    /// Writes to another stream from now on.
    pub(super) fn redirect(&self, stream: OwnedFd) {
        self.0.order(Entry::Redirect(stream));
    }

    /// Opens a file and writes to it from now on.
    pub(super) fn open(&self, path: PathBuf) {
        self.0.order(Entry::Open(path));
    }

    /// Number of lines that were dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped()
    }

    /// Waits until everything is written, or until `deadline`.
    pub(super) fn drain(&self, deadline: Instant) {
        self.0.drain(deadline);
    }
}

/// The line that says how many lines were dropped, as text.
pub(super) fn dropped(count: u64) -> String {
    format!("{count} log lines were dropped\n")
}

/// Writes lines. Blocks while the stream is not read.
fn write(
    queue: &Queue<Entry>,
    stream: &mut OwnedFd,
    Batch { entries, dropped }: Batch<Entry>,
    tell_dropped: fn(u64) -> String,
) {
    let mut text = String::new();
    for entry in entries {
        if let Entry::Text(line) = entry {
            text.push_str(&line);
            continue;
        }
        write_all(queue, stream, &std::mem::take(&mut text));
        match entry {
            Entry::Text(_) => {}
            Entry::Redirect(other) => *stream = other,
            Entry::Open(path) => match file::open(&path) {
                Ok(opened) => *stream = opened.file,
                Err(error) => tracing::error!("{error}; continuing with the previous one"),
            },
        }
    }
    if dropped > 0 {
        text.push_str(&tell_dropped(dropped));
    }
    write_all(queue, stream, &text);
}

fn write_all(queue: &Queue<Entry>, stream: &OwnedFd, text: &str) {
    let mut left = text.as_bytes();
    while !left.is_empty() {
        match rustix::io::write(stream, left) {
            Ok(written) => left = left.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // The descriptor may be shared with a process that set it to non-blocking. This thread may block.
            Err(Errno::AGAIN) => _ = poll(&mut [PollFd::new(stream, PollFlags::OUT)], None),
            // The stream will never be read, or the disk is full.
            Err(_) => {
                let lost = left.iter().filter(|byte| **byte == b'\n').count();
                queue.lose(u64::try_from(lost).unwrap_or(u64::MAX));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::super::queue::MAX_WAITING;
    use super::*;

    #[test]
    fn lines_for_a_stream_that_is_not_read_are_dropped_and_counted() {
        let (reader, writer) = UnixStream::pair().unwrap();
        let lines = Lines::to(writer.into(), dropped).unwrap();
        let line = format!("{}\n", "x".repeat(1023));
        // More than fits into the socket and the queue.
        let all = 8 * MAX_WAITING / 1024;
        for _ in 0..all {
            lines.push(&line);
        }
        let lost = lines.dropped();
        assert!(lost > 0);
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            (&reader).read_to_string(&mut text).unwrap();
            text
        });
        lines.drain(Instant::now() + Duration::from_secs(20));
        lines.push("last\n");
        lines.redirect(File::options().write(true).open("/dev/null").unwrap().into());
        let text = read.join().unwrap();
        assert_eq!(text.matches('x').count() as u64, 1023 * (all as u64 - lost));
        // The thread may have reported some while further lines were dropped.
        let counts = text.lines().filter_map(|line| line.strip_suffix(" log lines were dropped"));
        let told: u64 = counts.map(|count| count.parse::<u64>().unwrap()).sum();
        assert_eq!(told, lost);
        assert!(text.ends_with(" log lines were dropped\nlast\n"), "{}", &text[text.len() - 99..]);
    }

    #[test]
    fn lines_that_can_not_be_written_are_counted() {
        let lines =
            Lines::to(File::options().write(true).open("/dev/full").unwrap().into(), dropped).unwrap();
        lines.push("one\n");
        lines.push("two\n");
        lines.drain(Instant::now() + Duration::from_secs(10));
        assert_eq!(lines.dropped(), 2);
    }
}
