//! A socket registered with the event loop of the thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// A non-blocking socket whose readiness the event loop reports. Closed on drop.
#[derive(Debug)]
pub struct Registered(AsyncFd<OwnedFd>);

/// Whether an operation has left data in the kernel. Knowing this saves a system call that would find nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// There may be more: try again before waiting.
    Ready,
    /// Everything was taken: wait for the next event. The event loop is edge-triggered, so that later data is
    /// reported again.
    Drained,
}

impl Registered {
    /// Registers `fd`, which must be non-blocking, with the current event loop.
    ///
    /// # Errors
    ///
    /// Fails if the event loop can't register the descriptor.
    pub fn new(fd: OwnedFd, interest: Interest) -> io::Result<Self> {
        // SAFETY: `OwnedFd` refers to the same open descriptor from construction to drop, it can't be closed
        // elsewhere while `AsyncFd` holds it, and its `as_raw_fd` always returns the same number.
        let registered = unsafe { AsyncFd::register_with_interest(fd, interest) };
        Ok(Self(registered.map_err(io::Error::from)?))
    }

    /// Waits until a read may succeed.
    ///
    /// # Errors
    ///
    /// Fails if the event loop shuts down.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx).map_ok(drop)
    }

    /// Runs `operation` when the socket is readable.
    ///
    /// # Errors
    ///
    /// Those of `operation`, except for `WouldBlock` and `Interrupted`.
    pub fn poll_read<T>(
        &self,
        cx: &mut Context<'_>,
        mut operation: impl FnMut(BorrowedFd<'_>) -> io::Result<(T, After)>,
    ) -> Poll<io::Result<T>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            if let Some(done) = settle(&mut guard, operation(self.0.get_ref().as_fd())) {
                return Poll::Ready(done);
            }
        }
    }

    /// Runs `operation` when the socket is writable.
    ///
    /// # Errors
    ///
    /// Those of `operation`, except for `WouldBlock` and `Interrupted`.
    pub fn poll_write<T>(
        &self,
        cx: &mut Context<'_>,
        mut operation: impl FnMut(BorrowedFd<'_>) -> io::Result<(T, After)>,
    ) -> Poll<io::Result<T>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            if let Some(done) = settle(&mut guard, operation(self.0.get_ref().as_fd())) {
                return Poll::Ready(done);
            }
        }
    }

    /// Waits until a write may succeed, for a socket that is registered for reading only.
    ///
    /// The socket is registered for writing during the wait only. Otherwise every message that the other end receives
    /// would wake this process.
    ///
    /// # Errors
    ///
    /// Fails if the kernel can't duplicate or register the descriptor.
    pub async fn writable(&self) -> io::Result<()> {
        // A second registration needs its own descriptor.
        let waiting = Self::new(self.0.get_ref().try_clone()?, Interest::WRITABLE)?;
        waiting.0.writable().await.map(drop)
    }

    /// Removes the socket from the event loop.
    #[must_use]
    pub fn into_inner(self) -> OwnedFd {
        self.0.into_inner()
    }
}

/// Returns the result of an operation, or `None` if it has to be repeated at once or after the next event.
fn settle<T>(
    guard: &mut AsyncFdReadyGuard<'_, OwnedFd>,
    outcome: io::Result<(T, After)>,
) -> Option<io::Result<T>> {
    match outcome {
        Ok((value, After::Ready)) => return Some(Ok(value)),
        Ok((value, After::Drained)) => {
            guard.clear_ready();
            return Some(Ok(value));
        }
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
        Err(e) => return Some(Err(e)),
    }
    None
}

impl AsFd for Registered {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
