//! A request's head on its way to hyper: one at a time, within bounds, and of HTTP/1.1.
//!
//! What is too large hyper answers by itself, without a body and without a word to us. So a head that breaks a bound
//! is cut where it does, and hyper is given an end for it: the request then comes to us as any other, and is refused.
//! The rest of such a head is read and thrown away, as far as [`MAX_DISCARDED`], since a client that still writes when
//! its connection is closed may never see the answer.
//!
//! hyper ignores `Upgrade` in a request of HTTP/1.0, which is what nginx sends unless it is told otherwise. So hyper
//! sees HTTP/1.1 instead, and we are told.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use common::config::Limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much is read at a time, bytes. It is less than hyper asks for, whose buffer so never grows beyond what a head
/// needs.
const PIECE: usize = 4096;

/// So much of a head that is too long is read, bytes: most are read whole.
const MAX_DISCARDED: usize = 1 << 20;

/// What hyper must be ready to take beside a head within its bounds: the end of one that was cut.
const MAX_END: usize = 32;

/// A bound on a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Bound {
    /// `limits.request-head-bytes`, by the request line already.
    RequestLine,
    /// `limits.request-head-bytes`.
    Bytes,
    /// `limits.request-fields`.
    Fields,
}

/// A head that hyper has been given the end of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Head {
    /// Its length, with the empty line at its end.
    pub(in crate::gateway) bytes: usize,
    /// How many fields it has.
    pub(in crate::gateway) fields: usize,
    /// It is of HTTP/1.0.
    pub(in crate::gateway) is_http_1_0: bool,
    /// The first bound that it breaks. It was cut, and is longer still if nobody has waited for its end.
    pub(in crate::gateway) broken: Option<Bound>,
}

/// The head of the request that hyper hands out, as long as its answer is not there. (hyper wants streams that can be
/// upgraded to be `Send`.)
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct Latest(Arc<Mutex<Head>>);

impl Latest {
    /// What is known of it.
    pub(in crate::gateway) fn get(&self) -> Head {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, head: Head) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = head;
    }
}

/// A stream of which requests are read.
#[derive(Debug)]
pub(in crate::gateway) struct Heads<S> {
    stream: S,
    scanner: Scanner,
    /// What has come with a head and stands behind it.
    rest: Vec<u8>,
    /// What is left of the end that a cut head gets.
    end: &'static [u8],
    latest: Latest,
}

impl<S> Heads<S> {
    /// Reads requests from `stream`.
    pub(in crate::gateway) fn new(stream: S, limits: &Limits) -> Self {
        let scanner = Scanner::new(Bounds {
            bytes: usize::try_from(limits.request_head_bytes.get()).unwrap_or(usize::MAX),
            fields: usize::try_from(limits.request_fields.get()).unwrap_or(usize::MAX),
        });
        Self { stream, scanner, rest: Vec::new(), end: &[], latest: Latest::default() }
    }

    /// The longest head that hyper sees, bytes, and its most fields.
    pub(in crate::gateway) fn largest(&self) -> (usize, usize) {
        let Bounds { bytes, fields } = self.scanner.bounds;
        (bytes + MAX_END, fields + 1)
    }

    /// What is known of the latest head.
    pub(in crate::gateway) fn latest(&self) -> Latest {
        self.latest.clone()
    }

    /// The stream, and what was read of it and stands behind the last head.
    pub(in crate::gateway) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.rest)
    }

    /// The head has ended, or is read no further.
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

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    bytes: usize,
    fields: usize,
}

/// Follows one head, line by line.
#[derive(Debug)]
struct Scanner {
    bounds: Bounds,
    /// What has come so far.
    head: Head,
    /// The request line has ended.
    in_fields: bool,
    /// Bytes of the line so far, without line breaks.
    line: usize,
    /// Blanks in the request line.
    blanks: usize,
    /// The last eight bytes, by which a version is found.
    last: u64,
    /// By what a head that was cut ends.
    cut: Option<&'static [u8]>,
}

/// What there is in a piece.
struct Scanned {
    /// So many bytes from its beginning are for hyper.
    passed: usize,
    /// So many belong to the head.
    read: usize,
    /// With them the head ends.
    is_whole: bool,
}

impl Scanner {
    fn new(bounds: Bounds) -> Self {
        Self { bounds, head: Head::default(), in_fields: false, line: 0, blanks: 0, last: 0, cut: None }
    }

    /// Reads the next piece of a head, as far as that goes. A version 1.0 becomes 1.1.
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

    /// Reads one byte; true for the last.
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
            // An empty line before the first is none.
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

    /// Lets nothing more through, and finds an end by which what went through is a head.
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
