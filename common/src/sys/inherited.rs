//! Descriptors that the process has inherited.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// From <linux/close_range.h>. libc declares it with another type on some platforms.
const CLOSE_RANGE_CLOEXEC: i32 = 1 << 2;

/// The descriptors that have been taken.
static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Sets close-on-exec for all descriptors from 3 on (close_range(2)), so that descriptors which the caller
/// has left open do not reach the processes that this one starts.
///
/// # Errors
///
/// Fails before Linux 5.11.
pub fn close_others_on_exec() -> io::Result<()> {
    // SAFETY: sets a flag of descriptors; no memory is touched, and none is closed in this process.
    let done = unsafe { libc::close_range(3, u32::MAX, CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes ownership of descriptor `number`, which the parent has left open for this process, and sets
/// close-on-exec. Each can be taken once, and only before this program opens any descriptor itself.
///
/// # Errors
///
/// `NotFound` if the descriptor is not open or has been taken before.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 || !TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(number) {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: borrowed only for the call, which fails with EBADF when nothing is open there.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|_| io::ErrorKind::NotFound)?;
    // SAFETY: open, as the call above has shown; inherited, so no part of this program has opened it
    // or owns it; and handed out once, as the flag above makes sure.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
