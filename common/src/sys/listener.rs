//! Listening sockets: accepting, and checking one that somebody else has made.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use rustix::net::{SocketAddrAny, SocketFlags, SocketType, sockopt};
use tokio::io::Interest;

use super::reactor::{After, Registered};

/// A listening stream socket in the event loop.
#[derive(Debug)]
pub struct Listener(Registered);

/// Who has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP client.
    Ip(SocketAddr),
    /// A client of a unix socket; such clients have no address worth telling.
    Unix,
}

impl Listener {
    /// Registers a listening socket. It becomes non-blocking for all who hold it.
    ///
    /// # Errors
    ///
    /// The kernel's, when the event loop can't take another descriptor.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Registered::new(fd, Interest::READABLE).map(Self)
    }

    /// Accepts one connection, non-blocking and close-on-exec.
    ///
    /// # Errors
    ///
    /// Those of accept(2), among them the ones that concern only the connection that was to be
    /// accepted, and those that say that descriptors or memory have run out.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(OwnedFd, Peer)>> {
        self.0.poll_read(cx, |listener| Ok((accept(listener)?, After::Ready)))
    }

    /// The same without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nobody has come.
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
        // A client of a socket for both families is an IPv4 client all the same.
        Peer::Ip(SocketAddr::new(address.ip().to_canonical(), address.port()))
    })
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What is wrong with a socket that was passed to us for listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAListener {
    /// Not a socket at all.
    #[error("it is not a socket")]
    NotASocket,
    /// A datagram socket, for example.
    #[error("it is not a stream socket")]
    NotAStream,
    /// Connected or fresh, as with `Accept=yes` or inetd's `nowait`.
    #[error("it is not listening (use Accept=no, or inetd's \"wait\")")]
    NotListening,
}

/// Checks that `fd` is a stream socket that listens.
///
/// # Errors
///
/// What it is instead.
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

/// Sets on a listener what its connections shall have: Linux hands these options on at accept, which
/// spares two calls for each. Errors are left to the first use of the socket; unix sockets have none
/// of them.
pub fn set_inherited_options(fd: BorrowedFd<'_>) {
    let _ = sockopt::set_tcp_nodelay(fd, true);
    let _ = sockopt::set_socket_keepalive(fd, true);
}
