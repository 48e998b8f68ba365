//! Bytes that could not be written yet.

use std::io;
use std::task::{Context, Poll, ready};

use crate::gateway::transport::Transport;

/// What one side has not taken. Never more than one read of the other side, since that is not read
/// meanwhile, and a control frame. Empty, it holds no memory.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: Vec<u8>,
    written: usize,
}

impl Backlog {
    /// Whether nothing waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The number of bytes that wait to be written.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Drops what waits to be written, and its memory.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes `bytes` behind what waits; keeps what `to` does not take.
    pub(super) fn send(&mut self, cx: &mut Context<'_>, to: &mut Transport, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while self.is_empty() && !rest.is_empty() {
            match to.poll_send(cx, rest)? {
                Poll::Ready(sent) => rest = &rest[sent..],
                Poll::Pending => break,
            }
        }
        self.bytes.extend_from_slice(rest);
        Ok(())
    }

    /// Writes what waits, and brings everything to the socket.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>, to: &mut Transport) -> Poll<io::Result<()>> {
        while self.written < self.bytes.len() {
            self.written += ready!(to.poll_send(cx, &self.bytes[self.written..]))?;
        }
        if !self.bytes.is_empty() {
            self.clear();
        }
        to.poll_flush(cx)
    }
}
