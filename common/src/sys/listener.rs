//! Listening sockets: accepts connections, and checks passed sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use rustix::net::{SocketAddrAny, SocketFlags, SocketType, sockopt};
use tokio::io::Interest;

use super::reactor::{After, Registered};

/// A listening stream socket, registered with the event loop.
#[derive(Debug)]
pub struct Listener(Registered);

/// A client that has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP client.
    Ip(SocketAddr),
    /// A client of a unix socket, which has no meaningful address.
    Unix,
}

impl Listener {
    /// Registers a listening socket. It becomes non-blocking for all processes that share it.
    ///
    /// # Errors
    ///
    /// Fails if the event loop can't register the socket.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Registered::new(fd, Interest::READABLE).map(Self)
    }

    /// Accepts one connection, non-blocking and close-on-exec.
    ///
    /// # Errors
    ///
    /// Those of accept(2). Some concern only the connection that was to be accepted; others mean that
    /// descriptors or memory have run out.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(OwnedFd, Peer)>> {
        self.0.poll_read(cx, |listener| Ok((accept(listener)?, After::Ready)))
    }

    /// Accepts a connection that has arrived, without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if none has arrived.
    pub fn try_accept(&self) -> io::Result<(OwnedFd, Peer)> {
        accept(self.0.as_fd())
    }
}

fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Peer)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, address) = rustix::net::acceptfrom_with(listener, flags)?;
    Ok((socket, peer(address)))
}

fn peer(address: Option<SocketAddrAny>) -> Peer {
    address.and_then(|any| SocketAddr::try_from(any).ok()).map_or(Peer::Unix, |address| {
        // An IPv4 client of a dual-stack socket.
        Peer::Ip(SocketAddr::new(address.ip().to_canonical(), address.port()))
    })
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The reason why a passed socket can't be used for listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAListener {
    /// The descriptor is not a socket.
    #[error("it is not a socket")]
    NotASocket,
    /// The socket is not a stream socket.
    #[error("it is not a stream socket")]
    NotAStream,
    /// The socket does not listen, as with `Accept=yes` or inetd's `nowait`.
    #[error("it is not listening (use Accept=no, or inetd's \"wait\")")]
    NotListening,
}

/// Checks that `fd` is a stream socket that listens.
///
/// # Errors
///
/// Fails if it is not.
pub fn check(fd: BorrowedFd<'_>) -> Result<(), NotAListener> {
    match sockopt::socket_type(fd) {
        Ok(SocketType::STREAM) => {}
        Ok(_) => return Err(NotAListener::NotAStream),
        Err(_) => return Err(NotAListener::NotASocket),
    }
    match sockopt::socket_acceptconn(fd) {
        Ok(true) => Ok(()),
        _ => Err(NotAListener::NotListening),
    }
}

/// Sets options on a listener that its connections inherit, which saves two system calls for each. Errors are
/// ignored, as unix sockets lack these options; real ones show at the first use of the socket.
pub fn set_inherited_options(fd: BorrowedFd<'_>) {
    let _ = sockopt::set_tcp_nodelay(fd, true);
    let _ = sockopt::set_socket_keepalive(fd, true);
}
