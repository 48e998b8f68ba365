//! A deadline for clients that request a file and do not read it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Maximum time without progress of a write. The slowest usable link drains the kernel's buffers in that
/// time.
const MAX_STALL: Duration = Duration::from_secs(30);

/// A stream whose writes fail when the peer accepts nothing for [`MAX_STALL`].
#[derive(Debug)]
pub(in crate::gateway) struct WriteDeadline<S> {
    stream: S,
    /// Runs while a write is pending.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteDeadline<S> {
    /// Wraps `stream`.
    pub(in crate::gateway) fn new(stream: S) -> Self {
        Self { stream, stalled: None }
    }

    /// Returns the stream without the deadline.
    pub(in crate::gateway) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteDeadline<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: Unpin> WriteDeadline<S> {
    /// Returns the result of a write. Starts or checks the deadline while the write is pending.
    fn guard<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let until = || Box::pin(sleep_until(Instant::now() + MAX_STALL));
        self.stalled.get_or_insert_with(until).as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteDeadline<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.guard(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.guard(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.guard(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stops_fails_the_writer_in_time() {
        let (ours, mut theirs) = duplex(16);
        let mut guarded = WriteDeadline::new(ours);
        guarded.write_all(&[7; 16]).await.unwrap();
        let began = Instant::now();
        let failed = guarded.write_all(&[7; 16]).await.unwrap_err();
        assert_eq!((failed.kind(), began.elapsed()), (io::ErrorKind::TimedOut, MAX_STALL));
        theirs.read_exact(&mut [0; 16]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_served() {
        let (ours, mut theirs) = duplex(1);
        let mut guarded = WriteDeadline::new(ours);
        let reader = async {
            for _ in 0..4 {
                tokio::time::sleep(MAX_STALL - Duration::from_secs(1)).await;
                theirs.read_exact(&mut [0]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(guarded.write_all(&[7; 4]), reader);
        written.unwrap();
    }
}
