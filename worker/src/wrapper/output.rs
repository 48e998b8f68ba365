//! Forwards the program's output to the log line by line.

use std::os::fd::OwnedFd;
use std::time::Duration;

use common::ipc::log::RoleEvent;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::time::sleep;

/// Maximum length of a logged line in bytes. Longer lines are split.
const MAX_LINE: usize = 1024;

/// Amount of output, in bytes, after which reading pauses, as logging it costs processor time of the service.
const BURST: usize = 16 * 1024;
const PAUSE: Duration = Duration::from_millis(5);

/// Time for which output is read after the program's end. A process that could not be ended may keep the pipe
/// open.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(200);

/// Logs the lines that arrive on `pipe` until its other end is closed.
pub(super) async fn forward(pipe: OwnedFd) {
    let mut pipe = match Receiver::from_owned_fd(pipe) {
        Ok(pipe) => pipe,
        Err(error) => {
            tracing::error!("cannot read the program's output: {error}");
            return;
        }
    };
    let mut lines = Lines::default();
    let mut buffer = vec![0; BURST];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        lines.take(&buffer[..count], log);
        if count == BURST {
            sleep(PAUSE).await;
        }
    }
    lines.end(log);
}

fn log(line: &[u8]) {
    tracing::info!(event = RoleEvent::Output.as_str(), "{}", String::from_utf8_lossy(line));
}

/// The beginning of an incomplete line.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// Calls `each` for each complete line, and for each part of a line that is too long. Empty lines are
    /// skipped.
    fn take(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(MAX_LINE) {
                if self.0.len() + part.len() > MAX_LINE {
                    self.end(&mut each);
                }
                self.0.extend_from_slice(part);
            }
            if piece.ends_with(b"\n") {
                self.end(&mut each);
            }
        }
    }

    /// Calls `each` for the rest.
    fn end(&mut self, mut each: impl FnMut(&[u8])) {
        let line = std::mem::take(&mut self.0);
        let line = line.trim_ascii_end();
        if !line.is_empty() {
            each(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for piece in pieces {
            lines.take(piece, |line| all.push(String::from_utf8_lossy(line).into_owned()));
        }
        lines.end(|line| all.push(String::from_utf8_lossy(line).into_owned()));
        all
    }

    #[test]
    fn lines_are_complete_in_any_pieces() {
        assert_eq!(lines(&[b"a\nb", b"c\n", b"\n\r\nd\r\n", b" e"]), ["a", "bc", "d", " e"]);
        assert_eq!(lines(&[]), [""; 0]);
    }

    #[test]
    fn an_endless_line_is_split() {
        let long = vec![b'x'; 2500];
        let pieces = lines(&[&long, b"y\nz"]);
        assert_eq!(pieces.iter().map(String::len).collect::<Vec<_>>(), [1024, 1024, 453, 1]);
    }
}
