//! Feeds the heads of requests to hyper: one at a time, within the configured limits, and as HTTP/1.1.
//!
//! hyper answers a head that is too large by itself, without a body, and does not notify the service.
//! Therefore a head that exceeds a limit is cut there and completed with an end of ours. The request then
//! reaches the service like any other and is rejected. The rest of the head is discarded up to
//! [`MAX_DISCARDED`], since a client that is still writing when its connection is closed may never see the
//! response.
//!
//! hyper ignores `Upgrade` in an HTTP/1.0 request, which is what nginx sends by default. Such a request is
//! passed to hyper as HTTP/1.1, and [`Head::is_http_1_0`] is set.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use common::config::Limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Size of one read, in bytes. hyper asks for more; a smaller size keeps its buffer from growing beyond what
/// a head needs.
const PIECE: usize = 4096;

/// Bytes of an oversized head that are read and discarded. Most oversized heads are read to their end.
const MAX_DISCARDED: usize = 1 << 20;

/// Bytes that hyper must accept beyond `limits.request-head-bytes`: the end that a cut head gets.
const MAX_END: usize = 32;

/// A limit that a head has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Bound {
    /// `limits.request-head-bytes`, exceeded within the request line.
    RequestLine,
    /// `limits.request-head-bytes`.
    Bytes,
    /// `limits.request-fields`.
    Fields,
}

/// Facts about a head that has been passed to hyper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Head {
    /// Length in bytes, including the empty line.
    pub(in crate::gateway) bytes: usize,
    /// Number of header fields.
    pub(in crate::gateway) fields: usize,
    /// The request was HTTP/1.0.
    pub(in crate::gateway) is_http_1_0: bool,
    /// The first limit that the head exceeds. The head was cut then, and its counts are lower bounds if its
    /// end was not reached.
    pub(in crate::gateway) broken: Option<Bound>,
}

/// The head of the request that is being answered, shared with the service. It is an `Arc` because hyper
/// requires upgradable streams to be `Send`.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct Latest(Arc<Mutex<Head>>);

impl Latest {
    /// Returns the facts about the current head.
    pub(in crate::gateway) fn get(&self) -> Head {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, head: Head) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = head;
    }
}

/// A stream that hyper reads requests from.
#[derive(Debug)]
pub(in crate::gateway) struct Heads<S> {
    stream: S,
    scanner: Scanner,
    /// Bytes received after the current head.
    rest: Vec<u8>,
    /// Bytes that remain of the end given to a cut head.
    end: &'static [u8],
    latest: Latest,
}

impl<S> Heads<S> {
    /// Reads requests from `stream` and enforces `limits`.
    pub(in crate::gateway) fn new(stream: S, limits: &Limits) -> Self {
        let scanner = Scanner::new(Bounds {
            bytes: usize::try_from(limits.request_head_bytes.get()).unwrap_or(usize::MAX),
            fields: usize::try_from(limits.request_fields.get()).unwrap_or(usize::MAX),
        });
        Self { stream, scanner, rest: Vec::new(), end: &[], latest: Latest::default() }
    }

    /// Maximum length in bytes and number of fields of a head as hyper sees it.
    pub(in crate::gateway) fn largest(&self) -> (usize, usize) {
        let Bounds { bytes, fields } = self.scanner.bounds;
        (bytes + MAX_END, fields + 1)
    }

    /// A handle to the facts about the current head.
    pub(in crate::gateway) fn latest(&self) -> Latest {
        self.latest.clone()
    }

    /// Returns the stream, and the bytes that were read from it after the last head.
    pub(in crate::gateway) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.rest)
    }

    /// Completes the current head, either at its end or because no more of it is read.
    fn finish(&mut self) {
        self.latest.set(self.scanner.head);
        self.end = self.scanner.cut.unwrap_or_default();
        self.scanner = Scanner::new(self.scanner.bounds);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heads<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.end.is_empty() {
                let (now, later) = this.end.split_at(this.end.len().min(buf.remaining()));
                buf.put_slice(now);
                this.end = later;
                return Poll::Ready(Ok(()));
            }
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece[..PIECE.min(buf.remaining())]);
            if this.rest.is_empty() {
                ready!(Pin::new(&mut this.stream).poll_read(cx, &mut piece))?;
            } else {
                let later = this.rest.split_off(this.rest.len().min(piece.remaining()));
                piece.put_slice(&this.rest);
                this.rest = later;
            }
            let piece = piece.filled_mut();
            let has_ended = piece.is_empty();
            let Scanned { passed, read, is_whole } = this.scanner.scan(piece);
            buf.put_slice(&piece[..passed]);
            this.rest.splice(..0, piece[read..].iter().copied());
            let is_cut = this.scanner.cut.is_some();
            if is_whole || is_cut && (has_ended || this.scanner.head.bytes >= MAX_DISCARDED) {
                this.finish();
            }
            if passed > 0 || has_ended && this.end.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heads<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Limits of a head.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    bytes: usize,
    fields: usize,
}

/// Scans one head byte by byte.
#[derive(Debug)]
struct Scanner {
    bounds: Bounds,
    /// Facts collected so far.
    head: Head,
    /// The request line is complete.
    in_fields: bool,
    /// Length of the current line so far, without line breaks.
    line: usize,
    /// Number of blanks in the request line.
    blanks: usize,
    /// The last eight bytes, which are compared with the HTTP version.
    last: u64,
    /// The end that completes a cut head; `None` if the head is within its limits.
    cut: Option<&'static [u8]>,
}

/// Result of scanning a piece of input.
struct Scanned {
    /// Number of leading bytes to pass to hyper.
    passed: usize,
    /// Number of bytes that belong to the head.
    read: usize,
    /// The head is complete.
    is_whole: bool,
}

impl Scanner {
    fn new(bounds: Bounds) -> Self {
        Self { bounds, head: Head::default(), in_fields: false, line: 0, blanks: 0, last: 0, cut: None }
    }

    /// Scans the next piece of a head and rewrites the version HTTP/1.0 to HTTP/1.1 in place.
    fn scan(&mut self, piece: &mut [u8]) -> Scanned {
        let mut passed = 0;
        for (at, byte) in piece.iter_mut().enumerate() {
            let is_whole = self.byte(byte);
            if self.cut.is_none() {
                passed = at + 1;
            }
            if is_whole {
                return Scanned { passed, read: at + 1, is_whole };
            }
        }
        Scanned { passed, read: piece.len(), is_whole: false }
    }

    /// Scans one byte. Returns true for the last byte of the head.
    fn byte(&mut self, byte: &mut u8) -> bool {
        let begins_field = self.in_fields && self.line == 0 && !matches!(byte, b'\r' | b'\n');
        if self.head.bytes == self.bounds.bytes {
            self.cut_for(if self.in_fields { Bound::Bytes } else { Bound::RequestLine });
        } else if begins_field && self.head.fields == self.bounds.fields {
            self.cut_for(Bound::Fields);
        }
        self.head.bytes += 1;
        self.head.fields += usize::from(begins_field);
        if !self.in_fields && *byte == b'0' && self.last == u64::from_be_bytes(*b" HTTP/1.") {
            self.head.is_http_1_0 = true;
            *byte = b'1';
        }
        self.last = self.last << 8 | u64::from(*byte);
        match *byte {
            // An empty line before the request line is ignored (RFC 9112 section 2.2).
            b'\n' if self.line == 0 => return self.in_fields,
            b'\n' => (self.line, self.in_fields) = (0, true),
            b'\r' => {}
            byte => {
                self.line += 1;
                self.blanks += usize::from(byte == b' ' && !self.in_fields);
            }
        }
        false
    }

    /// Stops passing bytes to hyper, and chooses an end that makes the passed bytes a complete head.
    fn cut_for(&mut self, bound: Bound) {
        if self.cut.is_some() {
            return;
        }
        self.head.broken = Some(bound);
        self.cut = Some(match (self.last.to_be_bytes()[7], self.line) {
            (b'\r', 0) if self.in_fields => b"\n",
            (b'\r', _) => b"\n\r\n",
            (_, 0) if self.in_fields => b"\r\n",
            (_, _) if self.in_fields => b":\r\n\r\n",
            (_, 0) => b"GET / HTTP/1.1\r\n\r\n",
            _ if self.blanks == 1 => b"/ HTTP/1.1\r\n\r\n",
            _ => b"\r\n\r\n",
        });
    }
}

#[cfg(test)]
mod tests;
