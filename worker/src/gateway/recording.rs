//! Recordings of sessions in the format of the original, which noVNC can play back: a JavaScript array of
//! strings, one for each piece of data.
//! ```text
//! var VNC_frame_data = [
//! '{12{RFB 003.008\n',        12 ms after the beginning, to the client
//! '}15}RFB 003.008\n',        from the client
//! 'EOF'];
//! ```
//!
//! The last line is written with each piece and overwritten by the next one, so that the file is complete at
//! any time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::ipc::ConnectionId;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::outbox::Outbox;

const HEAD: &[u8] = b"var VNC_frame_data = [\n";
const TAIL: &[u8] = b"'EOF'];\n";

/// Maximum length of a piece in bytes. Escaped, it grows up to four times as long.
const MAX_PIECE: usize = 64 << 10;

/// Time limit for the supervisor to open a file.
const PATIENCE: Duration = Duration::from_secs(2);

/// The recording of one session.
#[derive(Debug)]
pub struct Recording {
    file: File,
    begin: Instant,
    /// Offset of the last line.
    end: u64,
}

/// Direction of a piece of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the target to the client.
    ToClient,
    /// From the client to the target.
    FromClient,
}

impl Recording {
    /// Starts a recording in an empty file.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be written.
    pub fn begin(file: OwnedFd) -> io::Result<Self> {
        let mut recording = Self { file: file.into(), begin: Instant::now(), end: 0 };
        recording.append(HEAD.to_vec())?;
        Ok(recording)
    }

    /// Appends a piece of data with the time since the beginning of the recording.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be written, for instance because the disk is full. The recording so far can
    /// still be played back.
    pub fn add(&mut self, direction: Direction, data: &[u8]) -> io::Result<()> {
        let mark = match direction {
            Direction::ToClient => '{',
            Direction::FromClient => '}',
        };
        let since = self.begin.elapsed().as_millis();
        for piece in data.chunks(MAX_PIECE) {
            let mut line = format!("'{mark}{since}{mark}").into_bytes();
            escape(piece, &mut line);
            line.extend(b"',\n");
            self.append(line)?;
        }
        Ok(())
    }

    /// Overwrites the last line with `line`, and writes the last line after it.
    fn append(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        let end = self.end + line.len() as u64;
        line.extend(TAIL);
        let mut written = 0;
        while written < line.len() {
            match self.file.write_at(&line[written..], self.end + written as u64) {
                Ok(0) => return Err(self.undo(written, io::ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.undo(written, error)),
            }
        }
        self.end = end;
        Ok(())
    }

    /// Restores the last line over what was written in part, and pads the rest with line breaks.
    fn undo(&self, written: usize, error: io::Error) -> io::Error {
        let mut tail = TAIL.to_vec();
        tail.resize(written.max(TAIL.len()), b'\n');
        // These bytes of the file exist already, so writing them needs no space. There is no recourse if even
        // that fails.
        let _ = self.file.write_all_at(&tail, self.end);
        error
    }
}

/// Escapes bytes for a JavaScript string in single quotes, in the form of Python's `unicode_escape`.
fn escape(data: &[u8], line: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in data {
        match byte {
            b'\\' => line.extend(b"\\\\"),
            b'\'' => line.extend(b"\\'"),
            b'\t' => line.extend(b"\\t"),
            b'\n' => line.extend(b"\\n"),
            b'\r' => line.extend(b"\\r"),
            b' '..=b'~' => line.push(*byte),
            _ => {
                let digit = |nibble: u8| HEX[usize::from(nibble)];
                line.extend([b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
}

/// Sessions that wait for the supervisor to open their recording.
#[derive(Debug, Default)]
pub(super) struct Recordings {
    waiting: RefCell<HashMap<ConnectionId, oneshot::Sender<Option<OwnedFd>>>>,
}

impl Recordings {
    /// Requests a file and starts a recording in it. On failure the session continues without one; the
    /// supervisor logs the reason.
    pub(super) async fn begin(
        &self,
        id: ConnectionId,
        vouched: Option<SocketAddr>,
        outbox: &Rc<Outbox>,
    ) -> Option<Recording> {
        let (sender, answer) = oneshot::channel();
        self.waiting.borrow_mut().insert(id, sender);
        let asked = timeout(PATIENCE, async {
            outbox.record(id, vouched).await.ok()?;
            answer.await.ok().flatten()
        });
        let file = asked.await.ok().flatten();
        self.waiting.borrow_mut().remove(&id);
        match Recording::begin(file?) {
            Ok(recording) => Some(recording),
            Err(error) => {
                log_end(id, &error);
                None
            }
        }
    }

    /// Handles the supervisor's answer: a file, or `None`.
    pub(super) fn opened(&self, id: ConnectionId, file: Option<OwnedFd>) {
        if let Some(sender) = self.waiting.borrow_mut().remove(&id) {
            // Fails if the session has given up waiting.
            let _ = sender.send(file);
        }
    }
}

/// Logs that a recording has ended before its session.
pub(super) fn log_end(id: ConnectionId, error: &io::Error) {
    tracing::error!("the recording of session {id} ends early: {error}");
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;

    fn content(file: &mut File) -> String {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_recording_is_complete_after_each_piece() {
        let mut file = tempfile::tempfile().unwrap();
        let mut recording = Recording::begin(file.try_clone().unwrap().into()).unwrap();
        assert_eq!(content(&mut file), "var VNC_frame_data = [\n'EOF'];\n");
        recording.add(Direction::ToClient, b"RFB\n").unwrap();
        recording.add(Direction::FromClient, b"").unwrap();
        recording.add(Direction::FromClient, b"a'\\\x00\xff").unwrap();
        let expected = "var VNC_frame_data = [\n'{0{RFB\\n',\n'}0}a\\'\\\\\\x00\\xff',\n'EOF'];\n";
        assert_eq!(content(&mut file), expected);
    }

    #[test]
    fn every_byte_is_written_as_in_the_original() {
        let mut line = Vec::new();
        escape(&(0..=255).collect::<Vec<u8>>(), &mut line);
        let text = String::from_utf8(line).unwrap();
        assert!(text.starts_with("\\x00\\x01") && text.contains("\\x08\\t\\n\\x0b\\x0c\\r\\x0e"));
        assert!(text.contains("%&\\'()") && text.contains("[\\\\]") && text.contains("~\\x7f\\x80"));
        assert!(text.ends_with("\\xfe\\xff"));
    }

    #[test]
    fn a_large_piece_is_divided() {
        let mut file = tempfile::tempfile().unwrap();
        let mut recording = Recording::begin(file.try_clone().unwrap().into()).unwrap();
        recording.add(Direction::ToClient, &vec![b'x'; 2 * MAX_PIECE + 1]).unwrap();
        assert_eq!(content(&mut file).lines().count(), 5);
    }
}
