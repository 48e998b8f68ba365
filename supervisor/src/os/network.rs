//! A network namespace for the wrapped program (network_namespaces(7)). Only root and the connector, which is
//! started in the same namespace, can reach the program's port.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// A descriptor of the namespace, which keeps it alive without a process in it.
#[derive(Debug)]
pub(crate) struct Network(OwnedFd);

impl Network {
    /// Creates a namespace whose loopback interface is up.
    pub(crate) fn new() -> io::Result<Self> {
        let ours = current()?;
        unshare(CloneFlags::CLONE_NEWNET)?;
        let made = current().and_then(|own| raise_loopback().map(|()| Self(own)));
        setns(ours, CloneFlags::CLONE_NEWNET)?;
        made
    }

    /// Takes over a namespace that an earlier image of this program has created.
    pub(crate) fn adopted(namespace: OwnedFd) -> Self {
        Self(namespace)
    }

    /// Runs `action` in the namespace: sockets that it creates and processes that it starts belong there. The
    /// thread always returns to its own namespace. That can fail only if the thread has lost the capability
    /// with which it has entered the other.
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

/// Runs `action` in `network`, or in the thread's own namespace without one.
pub(crate) fn within<T>(network: Option<&Network>, action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match network {
        Some(network) => network.within(action),
        None => action(),
    }
}

/// The namespace of this thread.
fn current() -> io::Result<OwnedFd> {
    File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
}

/// Constants of netlink(7) and rtnetlink(7).
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;

/// Interface index of loopback, which exists in each namespace.
const LOOPBACK: i32 = 1;

/// Brings loopback up.
fn raise_loopback() -> io::Result<()> {
    // Protocol 0 is NETLINK_ROUTE.
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    // nlmsghdr: length, type, flags, sequence, port. ifinfomsg: family, type, index, flags, mask of flags.
    let mut request = Vec::with_capacity(32);
    request.extend(32u32.to_ne_bytes());
    request.extend(RTM_NEWLINK.to_ne_bytes());
    request.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    request.extend([0; 12]);
    request.extend(LOOPBACK.to_ne_bytes());
    request.extend(IFF_UP.to_ne_bytes());
    request.extend(IFF_UP.to_ne_bytes());
    rustix::net::send(&socket, &request, SendFlags::empty())?;
    // The kernel answers synchronously: nlmsghdr, then the negative errno, 0 for success.
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
