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
    /// How many bytes of the buffer are its own.
    pub len: usize,
    /// The descriptor that came with it, already close-on-exec.
    pub fd: Option<OwnedFd>,
    /// The kernel dropped something: the datagram was longer than the buffer, or a descriptor could
    /// not be installed because too many are open. Or there were more descriptors than one.
    pub truncated: bool,
}

/// A connected pair of sockets, both close-on-exec and non-blocking.
///
/// # Errors
///
/// The kernel's, when too many descriptors are open.
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
/// `WouldBlock` when the other end has not read enough, `BrokenPipe` when it is gone.
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

/// Receives one datagram into `buf`. Nothing at the end, when the other end is closed.
///
/// There is room for one descriptor. The kernel closes what finds no room and says so; a second one may
/// fit into the padding, and is closed here. Either makes the datagram `truncated`, with the first
/// descriptor still there, which tells this from one that was lost for want of descriptors.
///
/// # Errors
///
/// `WouldBlock` when nothing is there.
pub fn receive(socket: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<Option<Datagram>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let buffers = &mut [IoSliceMut::new(buf)];
        match rustix::net::recvmsg(socket.as_fd(), buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
            // The other end has left something of ours unread. That is told once, before what it has said itself.
            Err(Errno::CONNRESET) => {}
            received => break received?,
        }
    };
    // What is not taken out of the iterator here is closed when it is dropped.
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
