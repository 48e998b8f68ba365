//! Data that waits to be written.

use std::io;
use std::task::{Context, Poll, ready};

use crate::gateway::kept::Kept;
use crate::gateway::transport::Transport;

/// Bytes that one side has not accepted yet. The length is bounded by one read of the other side, which is
/// not read meanwhile, and one control frame. An empty backlog holds no memory.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: Vec<u8>,
    written: usize,
    kept: Kept,
}

impl Backlog {
    /// Whether nothing is pending.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Number of pending bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Discards the pending bytes and releases their memory.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The pending bytes.
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Adds `bytes` to what is pending.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.kept.set(self.bytes.capacity());
    }

    /// Writes `bytes` after what is pending, and keeps what `to` does not accept.
    pub(super) fn send(&mut self, cx: &mut Context<'_>, to: &mut Transport, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while self.is_empty() && !rest.is_empty() {
            match to.poll_send(cx, rest)? {
                Poll::Ready(sent) => rest = &rest[sent..],
                Poll::Pending => break,
            }
        }
        if !rest.is_empty() {
            self.keep(rest);
        }
        Ok(())
    }

    /// Writes the pending bytes, and flushes `to`.
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
