//! Checks where tokens lead, at the moment of dialling: each address right before the connection to it, so that it makes
//! no difference what a name has resolved to before.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use common::ipc::token_reach::{Barred, TokenReach};
use common::sys::peer;
use rustix::fs::{Mode, OFlags, open, readlink};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, getsockname, socket_with};

/// Any port: nothing is sent.
const DISCARD: u16 = 9;

/// The reason why a unix socket is not connected to.
#[derive(Debug)]
pub(super) enum Unfit {
    /// No token leads there.
    Barred(Barred),
    /// A system call has failed.
    System(io::Error),
}

impl From<Barred> for Unfit {
    fn from(barred: Barred) -> Self {
        Self::Barred(barred)
    }
}

impl From<Errno> for Unfit {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// The check of one target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check<'a> {
    pub(super) reach: &'a TokenReach,
    /// A token file has the address itself.
    pub(super) is_spelled_out: bool,
}

impl Check<'_> {
    /// Checks a TCP address before it is connected to.
    pub(super) fn tcp(&self, address: SocketAddr) -> Result<(), Barred> {
        self.reach.check(address, self.is_spelled_out, is_local)
    }

    /// The path by which to connect to the unix socket at `path`: one that leads to the very file that was checked. The
    /// descriptor keeps it valid.
    pub(super) fn unix(&self, path: &Path) -> Result<(PathBuf, Option<OwnedFd>), Unfit> {
        if !self.reach.minds_paths() {
            return Ok((path.to_owned(), None));
        }
        let found = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        // proc(5): the link has the path without symbolic links, and leads to the file wherever it is.
        let link = format!("/proc/self/fd/{}", found.as_raw_fd());
        let shown = readlink(&*link, Vec::new())?;
        self.reach.check_unix(Path::new(OsStr::from_bytes(shown.as_bytes())))?;
        Ok((link.into(), Some(found)))
    }

    /// Checks a path that only root can look at, and where only root can make symbolic links.
    pub(super) fn unseen(&self, path: &Path) -> Result<(), Barred> {
        match path.components().any(|part| part == Component::ParentDir) {
            true if self.reach.minds_paths() => Err(Barred::NotAllowed),
            _ => self.reach.check_unix(path),
        }
    }

    /// Checks who listens at a unix socket that was connected to (unix(7), SO_PEERCRED): the control socket and
    /// listeners of the service are the supervisor's.
    pub(super) fn peer(&self, socket: &OwnedFd) -> Result<(), Unfit> {
        match peer::pid(socket) {
            Ok(pid) if pid != self.reach.supervisor => Ok(()),
            Ok(_) => Err(Barred::Own.into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether an address is one of this machine's: the kernel then sends to it from the same address. If that can't be
/// found out it counts as one.
fn is_local(ip: IpAddr) -> bool {
    let own = || {
        let family = if ip.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddr::new(ip, DISCARD))?;
        Ok::<_, Errno>(SocketAddr::try_from(getsockname(&socket)?)?.ip())
    };
    ip.is_loopback() || own().map_or(true, |own| own == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_local() {
        for (ip, expected) in [("127.0.0.1", true), ("127.9.9.9", true), ("::1", true)] {
            assert_eq!(is_local(ip.parse().unwrap()), expected, "{ip}");
        }
    }

    #[test]
    fn a_path_that_only_root_can_see_is_taken_as_it_is_written() {
        let reach: TokenReach = TokenReach {
            allow: serde::Deserialize::deserialize(serde_json::json!(["unix:/run/vm/"])).ok(),
            ..TokenReach::default()
        };
        let check = Check { reach: &reach, is_spelled_out: false };
        assert!(check.unseen(Path::new("/run/vm/x")).is_ok());
        for path in ["/run/x", "/run/vm/../x"] {
            assert!(check.unseen(Path::new(path)).is_err(), "{path}");
        }
    }
}
