//! The program's output, line by line into the log.

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::time::sleep;

/// Longest piece of a line that is logged at a time; a longer line comes in pieces.
const MAX_LINE: usize = 1024;

/// After so much the program has to wait a moment: what it writes costs our processor time.
const BURST: usize = 16 * 1024;
const PAUSE: Duration = Duration::from_millis(5);

/// How long after the program's end its output may still be read: a process that we could not end may
/// hold the other end of the pipe.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(200);

/// Logs what comes from `pipe` until nobody can write to it any more.
pub(super) async fn forward(name: String, pipe: OwnedFd) {
    let mut pipe = match Receiver::from_owned_fd(pipe) {
        Ok(pipe) => pipe,
        Err(error) => {
            tracing::error!("cannot read the output of {name}: {error}");
            return;
        }
    };
    let mut lines = Lines::default();
    let mut buffer = vec![0; BURST];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        lines.take(&buffer[..count], |line| log(&name, line));
        if count == BURST {
            sleep(PAUSE).await;
        }
    }
    lines.end(|line| log(&name, line));
}

fn log(name: &str, line: &[u8]) {
    let text = String::from_utf8_lossy(line);
    tracing::info!("{name}: {text}");
}

/// What was read of a line that has not ended.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// Gives each whole line, and each piece of one that is too long. Empty lines are left out.
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

    /// Gives what is left.
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
    fn lines_come_whole_whatever_the_pieces() {
        assert_eq!(lines(&[b"a\nb", b"c\n", b"\n\r\nd\r\n", b" e"]), ["a", "bc", "d", " e"]);
        assert_eq!(lines(&[]), [""; 0]);
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let long = vec![b'x'; 2500];
        let pieces = lines(&[&long, b"y\nz"]);
        assert_eq!(pieces.iter().map(String::len).collect::<Vec<_>>(), [1024, 1024, 453, 1]);
    }
}
