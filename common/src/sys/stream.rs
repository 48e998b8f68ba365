//! Stream sockets to clients and targets, TCP and unix alike.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::ioctl::{Getter, Opcode, ioctl};
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::reactor::{After, Registered};

/// From <asm-generic/ioctls.h>, also known as SIOCOUTQ: number of bytes in the send queue.
const TIOCOUTQ: Opcode = 0x5411;

/// From <asm-generic/socket.h>: memory use of a socket.
const SO_MEMINFO: libc::c_int = 55;

// From <linux/sock_diag.h>: indices into the result of `SO_MEMINFO`, and its smallest length.
const MEMINFO_WMEM_ALLOC: usize = 2;
const MEMINFO_SNDBUF: usize = 3;
const MEMINFO_WMEM_QUEUED: usize = 5;
const MEMINFO_VARS: usize = 9;

/// A connected stream socket in the event loop.
///
/// The stream is created from a descriptor of another process, so that it needs no address and no system call. A read or
/// write that was served only in part marks the socket as not ready, which saves a call that would only
/// return `EAGAIN`.
#[derive(Debug)]
pub struct StreamSocket {
    socket: Arc<Registered>,
    /// Number of bytes that may be received until the stream counts as ended; see [`Self::end_input`].
    /// Initially more than will ever be received.
    receivable: Cell<u64>,
    /// Number of bytes that the kernel has accepted.
    sent: Cell<u64>,
}

/// Detects whether the peer of a socket has hung up, while the socket has another owner.
#[derive(Clone, Debug)]
pub struct Hangup(Weak<Registered>);

impl StreamSocket {
    /// Registers a connected, non-blocking stream socket with the current event loop.
    ///
    /// # Errors
    ///
    /// Fails if the event loop can't register the descriptor.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let socket = Registered::new(fd, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { socket: Arc::new(socket), receivable: Cell::new(u64::MAX), sent: Cell::new(0) })
    }

    /// A handle that detects whether the peer has hung up.
    #[must_use]
    pub fn hangup(&self) -> Hangup {
        Hangup(Arc::downgrade(&self.socket))
    }

    /// Waits until a read may succeed.
    ///
    /// # Errors
    ///
    /// Fails if the event loop shuts down.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.receivable.get() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_read_ready(cx)
    }

    /// Reads into `buf` and returns the number of bytes; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// Fails on an error of the connection.
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let receivable = self.receivable.get();
        let room = usize::try_from(receivable).map_or(buf.len(), |receivable| receivable.min(buf.len()));
        if room == 0 {
            return Poll::Ready(Ok(0));
        }
        let buf = &mut buf[..room];
        self.socket.poll_read(cx, |fd| {
            let (received, _) = rustix::net::recv(fd, &mut *buf, RecvFlags::empty())?;
            self.receivable.set(receivable - received as u64);
            Ok((received, after(received, buf.len())))
        })
    }

    /// Ends the stream for [`Self::poll_recv`] after the bytes that the kernel has received so far.
    pub fn end_input(&self) {
        let received = rustix::io::ioctl_fionread(&self.socket).unwrap_or(0);
        self.receivable.set(received.min(self.receivable.get()));
    }

    /// Reads up to `scratch.len()` bytes and discards them, including those after [`Self::end_input`]; 0 is
    /// the end of the stream. The content of `scratch` is undefined afterwards.
    ///
    /// # Errors
    ///
    /// Fails on an error of the connection.
    pub fn poll_discard(&self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        self.socket.poll_read(cx, |fd| {
            // With TCP, MSG_TRUNC saves the copy (tcp(7)). Unix sockets ignore it.
            let (received, _) = rustix::net::recv(fd, &mut *scratch, RecvFlags::TRUNC)?;
            Ok((received, after(received, scratch.len())))
        })
    }

    /// Number of written bytes that the peer's system has not acknowledged. With TCP a FIN counts as one. 0
    /// if the kernel can't tell.
    #[must_use]
    pub fn unacknowledged(&self) -> u64 {
        // SAFETY: TIOCOUTQ writes one `c_int` (tcp(7), unix(7)).
        let queued = unsafe { ioctl(&self.socket, Getter::<TIOCOUTQ, libc::c_int>::new()) };
        queued.ok().and_then(|queued| queued.try_into().ok()).unwrap_or(0)
    }

    /// Free space of the send buffer in bytes, of which the kernel's own structures take a small part. 0 if the
    /// kernel can't tell.
    #[must_use]
    pub fn send_space(&self) -> usize {
        let mut info = [0_u32; MEMINFO_VARS];
        let mut size = libc::socklen_t::try_from(size_of_val(&info)).unwrap_or(0);
        // SAFETY: the kernel writes at most `size` bytes, which is the size of `info` (getsockopt(2)).
        let outcome = unsafe {
            libc::getsockopt(
                self.socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                SO_MEMINFO,
                info.as_mut_ptr().cast(),
                &raw mut size,
            )
        };
        if outcome != 0 {
            return 0;
        }
        // TCP counts queued bytes, a unix socket those that its peer has not read.
        let used = info[MEMINFO_WMEM_ALLOC].max(info[MEMINFO_WMEM_QUEUED]);
        info[MEMINFO_SNDBUF].saturating_sub(used) as usize
    }

    /// A number that changes whenever the peer's system acknowledges something.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.sent.get().wrapping_sub(self.unacknowledged())
    }

    /// Returns the first byte that can be read without taking it; `None` at the end of the stream.
    ///
    /// # Errors
    ///
    /// Fails on an error of the connection.
    pub fn poll_peek(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<u8>>> {
        self.socket.poll_read(cx, |fd| {
            let mut first = [0];
            let (received, _) = rustix::net::recv(fd, &mut first, RecvFlags::PEEK)?;
            Ok(((received > 0).then_some(first[0]), After::Ready))
        })
    }

    /// Writes from `buf` and returns how much the kernel has accepted.
    ///
    /// # Errors
    ///
    /// Fails on an error of the connection.
    pub fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.socket.poll_write(cx, |fd| {
            let sent = rustix::net::send(fd, buf, SendFlags::NOSIGNAL)?;
            self.count(sent);
            Ok((sent, after(sent, buf.len())))
        })
    }

    /// Writes from several buffers with one system call and returns how much the kernel has accepted.
    ///
    /// # Errors
    ///
    /// Fails on an error of the connection.
    pub fn poll_send_vectored(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let asked = bufs.iter().map(|buf| buf.len()).sum();
        self.socket.poll_write(cx, |fd| {
            // Not sendmsg(2): a gateway's sandbox rejects it, as it could pass descriptors. SIGPIPE is no
            // concern, as Rust programs ignore it.
            let sent = rustix::io::writev(fd, bufs)?;
            self.count(sent);
            Ok((sent, after(sent, asked)))
        })
    }

    /// Sends the end of the stream to the peer (FIN with TCP).
    ///
    /// # Errors
    ///
    /// Fails if the connection is broken already.
    pub fn shutdown_write(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.socket, Shutdown::Write)?)
    }

    fn count(&self, sent: usize) {
        self.sent.set(self.sent.get().wrapping_add(sent as u64));
    }
}

impl Hangup {
    /// Whether the peer has hung up: it has ended its side, even with unread data, or the socket is closed.
    #[must_use]
    pub fn has_come(&self) -> bool {
        let Some(socket) = self.0.upgrade() else { return true };
        let mut looked_at = [PollFd::new(&*socket, PollFlags::RDHUP)];
        // The kernel adds HUP and ERR by itself (poll(2)).
        poll(&mut looked_at, Some(&Timespec::default())).is_ok_and(|found| found > 0)
    }
}

/// Whether the kernel has more space or data after an operation on `moved` of `asked` bytes. At the end of a
/// stream the socket stays ready, so that each further read reports the end.
fn after(moved: usize, asked: usize) -> After {
    if 0 < moved && moved < asked { After::Drained } else { After::Ready }
}

impl AsFd for StreamSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
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
