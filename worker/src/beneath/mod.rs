//! Lookups that start from a directory and stay beneath it.
//!
//! Usually the kernel ensures that: `openat2(2)` with `RESOLVE_BENEATH` rejects `..` above the directory,
//! absolute paths and symbolic links that lead out, without a race between check and use. Links that stay
//! inside are followed, since web directories contain them (Debian's noVNC links `vnc_auto.html` to
//! `vnc.html`). Mounts below the directory count as inside: whoever could mount there could as well copy
//! files.
//!
//! A path that the kernel rejects may still lead inside: a link may be an absolute path, or go above the
//! directory and come back. [`walk`] looks up such a path again, one name at a time, and recognises the
//! directory by its absolute paths. It also replaces openat2 where that is missing: on kernels before 5.6, in
//! containers with an old filter, and in systemd units with `RestrictSUIDSGID=yes`.

pub(crate) mod walk;

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use walk::Links;

/// Maximum number of attempts for a lookup that is disturbed by renames elsewhere: openat2 can't tell then
/// whether `..` within a symbolic link stayed inside.
const ATTEMPTS: usize = 8;

/// The mechanism that keeps lookups beneath the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The kernel, with openat2(2).
    Kernel,
    /// Our own walk, with openat(2) and readlinkat(2).
    Walk,
}

/// A directory in which lookups start and stay.
#[derive(Debug)]
pub struct Beneath {
    directory: OwnedFd,
    lookup: Lookup,
    names: Vec<PathBuf>,
}

impl Beneath {
    /// Takes an open directory (`O_PATH` suffices), and detects whether openat2(2) is available. Must be
    /// called outside the sandbox, which then permits only the required system calls.
    ///
    /// The descriptor refers to the directory itself: another one that later gets the same name is not used.
    #[must_use]
    pub fn new(directory: OwnedFd) -> Self {
        let by_kernel = Self::by(Lookup::Kernel, directory);
        match by_kernel.open(OsStr::new("."), OFlag::O_PATH | OFlag::O_DIRECTORY) {
            // Old container filters answer unknown system calls with EPERM, which this lookup never returns.
            Err(Errno::ENOSYS | Errno::EPERM) => Self { lookup: Lookup::Walk, ..by_kernel },
            _ => by_kernel,
        }
    }

    /// Takes an open directory, with the given mechanism.
    #[must_use]
    pub fn by(lookup: Lookup, directory: OwnedFd) -> Self {
        Self { directory, lookup, names: Vec::new() }
    }

    /// Sets the absolute paths of the directory, without `.` and `..`, the real one last. A link through one
    /// of them leads inside. Without any, all absolute links lead out.
    #[must_use]
    pub fn known_as(self, names: Vec<PathBuf>) -> Self {
        Self { names, ..self }
    }

    /// The mechanism in use.
    #[must_use]
    pub fn lookup(&self) -> Lookup {
        self.lookup
    }

    /// Opens what `path` leads to, following symbolic links that stay inside.
    ///
    /// # Errors
    ///
    /// The error of the kernel; `EXDEV` if the path leads out.
    pub(crate) fn open(&self, path: &OsStr, flags: OFlag) -> Result<OwnedFd, Errno> {
        let walk = || walk::open(self.as_fd(), path, flags, Links::Followed(&self.names));
        match self.lookup {
            Lookup::Kernel => match by_kernel(&self.directory, path, flags) {
                Err(Errno::EXDEV) => walk(),
                found => found,
            },
            Lookup::Walk => walk(),
        }
    }
}

impl AsFd for Beneath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

fn by_kernel(directory: &OwnedFd, path: &OsStr, flags: OFlag) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    for _ in 1..ATTEMPTS {
        match openat2(directory, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            result => return result,
        }
    }
    openat2(directory, path, how)
}
