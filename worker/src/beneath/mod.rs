//! Lookups that start from a directory and stay beneath it.
//!
//! As a rule the kernel keeps them there: `openat2(2)` with `RESOLVE_BENEATH` refuses `..` above the
//! directory, absolute paths and each symbolic link that leads out, without a moment between check and use
//! in which a name could be swapped. Links that stay inside are followed, since web directories have them
//! (Debian's noVNC links `vnc_auto.html` to `vnc.html`). Mounts below the directory count as inside:
//! whoever could mount there could as well have copied.
//!
//! What the kernel refuses may still lead inside: a link can be written as an absolute path, or go above the
//! directory and come back. [`walk`] looks again, one name at a time, and knows the directory by its absolute
//! paths. It does the whole lookup where there is no such call: on kernels before 5.6, in containers with an old
//! filter, and in units of systemd with `RestrictSUIDSGID=yes`.

pub(crate) mod walk;

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use walk::Links;

/// How often a lookup is tried that was disturbed by a rename elsewhere: openat2 cannot tell then
/// whether `..` within a symbolic link stayed inside.
const ATTEMPTS: usize = 8;

/// What keeps lookups beneath the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The kernel, by openat2(2).
    Kernel,
    /// We do, by openat(2) and readlinkat(2).
    Walk,
}

/// A directory as the place that lookups start from and stay in.
#[derive(Debug)]
pub struct Beneath {
    directory: OwnedFd,
    lookup: Lookup,
    names: Vec<PathBuf>,
}

impl Beneath {
    /// Takes an open directory (`O_PATH` is enough), and finds out whether the system has openat2(2). So it is
    /// to be called outside the sandbox, which then allows what is needed and no more.
    ///
    /// The descriptor holds on to the directory itself: one that is later put in its place under the
    /// same name is not seen.
    #[must_use]
    pub fn new(directory: OwnedFd) -> Self {
        let by_kernel = Self::by(Lookup::Kernel, directory);
        match by_kernel.open(OsStr::new("."), OFlag::O_PATH | OFlag::O_DIRECTORY) {
            // Old filters of containers answer unknown calls with EPERM, which this lookup never gives.
            Err(Errno::ENOSYS | Errno::EPERM) => Self { lookup: Lookup::Walk, ..by_kernel },
            _ => by_kernel,
        }
    }

    /// The same, in this way whatever the system has.
    #[must_use]
    pub fn by(lookup: Lookup, directory: OwnedFd) -> Self {
        Self { directory, lookup, names: Vec::new() }
    }

    /// Absolute paths of the directory without `.` and `..`, the real one last. A link that leads through one of
    /// them leads inside; without any, each absolute link leads out.
    #[must_use]
    pub fn known_as(self, names: Vec<PathBuf>) -> Self {
        Self { names, ..self }
    }

    /// What keeps lookups inside.
    #[must_use]
    pub fn lookup(&self) -> Lookup {
        self.lookup
    }

    /// Opens what `path` leads to, following symbolic links as long as they stay inside.
    ///
    /// # Errors
    ///
    /// The kernel's; `EXDEV` for what leads out.
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
