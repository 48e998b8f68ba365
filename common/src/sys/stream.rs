//! Byte streams between us and a client or a target: TCP and unix sockets alike.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::reactor::{After, Registered};

/// A connected stream socket in the event loop.
///
/// Made from a descriptor that came from another process, so that it knows nothing of addresses and
/// makes no system call on the way. A read or write that the kernel served only in part marks the
/// socket as not ready, which spares the call that would only say `EAGAIN`.
#[derive(Debug)]
pub struct StreamSocket(Registered);

impl StreamSocket {
    /// Registers a connected, non-blocking stream socket with the current event loop.
    ///
    /// # Errors
    ///
    /// The kernel's, when the event loop can't take another descriptor.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Registered::new(fd, Interest::READABLE | Interest::WRITABLE).map(Self)
    }

    /// Reads into `buf`; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.poll_read(cx, |fd| {
            let (received, _) = rustix::net::recv(fd, &mut *buf, RecvFlags::empty())?;
            Ok((received, after(received, buf.len())))
        })
    }

    /// The first byte that can be read, without taking it; none at the end of the stream.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn poll_peek(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<u8>>> {
        self.0.poll_read(cx, |fd| {
            let mut first = [0];
            let (received, _) = rustix::net::recv(fd, &mut first, RecvFlags::PEEK)?;
            Ok(((received > 0).then_some(first[0]), After::Ready))
        })
    }

    /// Writes from `buf`, as much as the kernel takes.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, |fd| {
            let sent = rustix::net::send(fd, buf, SendFlags::NOSIGNAL)?;
            Ok((sent, after(sent, buf.len())))
        })
    }

    /// Writes from several buffers with one call, as much as the kernel takes.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub fn poll_send_vectored(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let asked = bufs.iter().map(|buf| buf.len()).sum();
        self.0.poll_write(cx, |fd| {
            // Not sendmsg(2): a gateway's sandbox refuses it, since it could pass descriptors on.
            // Nor does this raise SIGPIPE, which Rust programs ignore.
            let sent = rustix::io::writev(fd, bufs)?;
            Ok((sent, after(sent, asked)))
        })
    }

    /// Tells the peer that nothing more will be sent (TCP's FIN).
    ///
    /// # Errors
    ///
    /// The kernel's, when the connection is gone already.
    pub fn shutdown_write(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.0, Shutdown::Write)?)
    }
}

/// Whether the kernel has more room or data behind an operation on `moved` of `asked` bytes. At the
/// end of a stream it stays ready, so that each further read says so too.
fn after(moved: usize, asked: usize) -> After {
    if 0 < moved && moved < asked { After::Drained } else { After::Ready }
}

impl AsFd for StreamSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsyncRead for StreamSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let received = ready!(self.poll_recv(cx, buf.initialize_unfilled()))?;
        buf.advance(received);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown_write())
    }
}
