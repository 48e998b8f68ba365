//! The process at the other end of a unix socket.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// The process id of the peer of a connected unix socket: of who listens at it (unix(7), `SO_PEERCRED`). It is 0 if this
/// process can't see the peer, as that is in another PID namespace; rustix has no value for that.
///
/// # Errors
///
/// Fails if `socket` is not a connected unix socket.
pub fn pid(socket: impl AsFd) -> io::Result<i32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = u32::try_from(size_of::<libc::ucred>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `size` bytes, which is the size of `peer` (getsockopt(2)).
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut size,
        )
    };
    if result == 0 { Ok(peer.pid) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_is_who_listens() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(pid(&one).unwrap(), i32::try_from(std::process::id()).unwrap());
        assert!(pid(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
