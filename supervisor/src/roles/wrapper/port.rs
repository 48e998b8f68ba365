//! A reserved loopback port for the wrapped program.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// Maximum number of attempts to find a port that is free in both families.
const ATTEMPTS: u32 = 64;

/// A port that is bound by sockets which never listen, so that the kernel gives it to no other socket. A
/// socket that requests it by number and allows reuse (`SO_REUSEADDR`, which `rebind.so` sets) can bind it as
/// well, and listen. So the port can't be lost at any moment, however often the program is restarted.
#[derive(Debug)]
pub(crate) struct ReservedPort {
    number: u16,
    v4: OwnedFd,
    /// `None` if the kernel has no IPv6.
    v6: Option<OwnedFd>,
}

impl ReservedPort {
    /// Reserves a port that the kernel chooses.
    pub(crate) fn new() -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let v4 = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
            let number = SocketAddr::try_from(rustix::net::getsockname(&v4)?)?.port();
            let v6 = match bind(SocketAddr::from((Ipv6Addr::LOCALHOST, number))) {
                Ok(socket) => Some(socket),
                Err(Errno::ADDRINUSE) => continue,
                Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => None,
                Err(errno) => return Err(errno.into()),
            };
            return Ok(Self { number, v4, v6 });
        }
        Err(Errno::ADDRINUSE.into())
    }

    /// Takes over a port that an earlier image has reserved.
    pub(crate) fn adopted(number: u16, v4: OwnedFd, v6: Option<OwnedFd>) -> Self {
        Self { number, v4, v6 }
    }

    /// The sockets that reserve the port.
    pub(crate) fn sockets(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (self.v4.as_fd(), self.v6.as_ref().map(AsFd::as_fd))
    }

    /// The port number.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// Address where most programs listen after their port is moved.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}

fn bind(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_reserved_port_can_be_listened_on_again_and_again() {
        let port = ReservedPort::new().unwrap();
        for _ in 0..3 {
            // The standard library sets SO_REUSEADDR for listeners, as rebind.so does.
            let listener = TcpListener::bind(port.address()).unwrap();
            assert!(TcpListener::bind(port.address()).is_err(), "only one can listen");
            drop(listener);
        }
    }

    #[test]
    fn nobody_is_given_a_reserved_port() {
        let ports: Vec<_> = (0..200).map(|_| ReservedPort::new().unwrap()).collect();
        let mut numbers: Vec<_> = ports.iter().map(ReservedPort::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), ports.len());
    }
}
