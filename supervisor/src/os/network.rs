//! A network of the program's own (network_namespaces(7)): its port is reached by the connector, which is started there
//! as well, and by nobody else but root.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Holds the network as long as nobody lives there.
#[derive(Debug)]
pub(crate) struct Network(OwnedFd);

impl Network {
    /// A new one, in which there is loopback.
    pub(crate) fn new() -> io::Result<Self> {
        let ours = current()?;
        unshare(CloneFlags::CLONE_NEWNET)?;
        let made = current().and_then(|own| raise_loopback().map(|()| Self(own)));
        setns(ours, CloneFlags::CLONE_NEWNET)?;
        made
    }

    /// One that an earlier image of this program has made.
    pub(crate) fn adopted(namespace: OwnedFd) -> Self {
        Self(namespace)
    }

    /// Does something there: sockets that are made and processes that are started meanwhile belong to it. We come
    /// back in any case; that fails only for who has lost the rights which going there took.
    fn within<T>(&self, action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let ours = current()?;
        setns(&self.0, CloneFlags::CLONE_NEWNET)?;
        let done = action();
        setns(ours, CloneFlags::CLONE_NEWNET)?;
        done
    }
}

impl AsFd for Network {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Does something in `network`, or in our own if there is none.
pub(crate) fn within<T>(network: Option<&Network>, action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match network {
        Some(network) => network.within(action),
        None => action(),
    }
}

/// The network that this thread is in.
fn current() -> io::Result<OwnedFd> {
    File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
}

/// Of netlink(7) and rtnetlink(7).
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;

/// The number of loopback, which is made with the network.
const LOOPBACK: i32 = 1;

/// Lets loopback carry packets.
fn raise_loopback() -> io::Result<()> {
    // Without a protocol it is NETLINK_ROUTE.
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    // nlmsghdr: length, type, flags, sequence, port; ifinfomsg: family, type, index, flags, which of them change.
    let mut request = Vec::with_capacity(32);
    request.extend(32u32.to_ne_bytes());
    request.extend(RTM_NEWLINK.to_ne_bytes());
    request.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    request.extend([0; 12]);
    request.extend(LOOPBACK.to_ne_bytes());
    request.extend(IFF_UP.to_ne_bytes());
    request.extend(IFF_UP.to_ne_bytes());
    rustix::net::send(&socket, &request, SendFlags::empty())?;
    // The kernel answers within the call before. nlmsghdr, then the error as a negative number, 0 for success.
    let mut answer = [0u8; 64];
    let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::DONTWAIT)?;
    let [_, _, _, _, kind_low, kind_high, ..] = answer;
    let error = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    match u16::from_ne_bytes([kind_low, kind_high]) {
        NLMSG_ERROR if length >= 20 && error == 0 => Ok(()),
        NLMSG_ERROR if length >= 20 => Err(Errno::from_raw_os_error(-error).into()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
