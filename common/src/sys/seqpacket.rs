//! Datagrams with at most one descriptor over `SOCK_SEQPACKET` pairs (unix(7), cmsg(3)).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// One received datagram.
#[derive(Debug)]
pub struct Datagram {
    /// Length of the datagram in the buffer.
    pub len: usize,
    /// The descriptor that was received with it, with close-on-exec set.
    pub fd: Option<OwnedFd>,
    /// The kernel dropped something, as the datagram was longer than the buffer or too many descriptors are
    /// open; or there was more than one descriptor.
    pub truncated: bool,
}

/// Creates a connected pair of sockets, both close-on-exec and non-blocking.
///
/// # Errors
///
/// Fails if too many descriptors are open.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?)
}

/// Sends `bytes` as one datagram, with a copy of `fd` if there is one.
///
/// # Errors
///
/// `WouldBlock` if the receive queue of the other end is full, `BrokenPipe` if it is closed.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let Some(fd) = fd else {
        rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?;
        return Ok(());
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one datagram into `buf`. Returns `None` when the other end is closed.
///
/// There is room for one descriptor. The kernel closes descriptors that find no room, and reports that. A
/// second one may fit into the padding, and is closed here. In both cases the datagram is marked `truncated`
/// and has the first descriptor, which distinguishes it from one whose descriptor was lost because too many
/// are open.
///
/// # Errors
///
/// `WouldBlock` if nothing has arrived.
pub fn receive(socket: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<Option<Datagram>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let buffers = &mut [IoSliceMut::new(buf)];
        match rustix::net::recvmsg(socket.as_fd(), buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
            // The other end was closed with unread data of ours. This is reported once, before the data that
            // it has sent itself.
            Err(Errno::CONNRESET) => {}
            received => break received?,
        }
    };
    // Descriptors that are not taken from the iterator here are closed when it is dropped.
    let (mut fd, mut too_many) = (None, false);
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            for one in fds {
                too_many |= fd.is_some();
                fd = fd.or(Some(one));
            }
        }
    }
    if received.bytes == 0 && fd.is_none() {
        return Ok(None);
    }
    let truncated = too_many || received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    Ok(Some(Datagram { len: received.bytes, fd, truncated }))
}
