//! `UnixDomainSocketDirectory`: the token is the name of a unix socket in a directory.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use rustix::fs::{FileType, fstat};

use super::error::LookupError;
use crate::beneath::walk::{self, Links};
use crate::connector::target::Target;

/// A place in the file system, without the right to read or write what is there.
const PLACE: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// The directory.
#[derive(Debug)]
pub(in crate::connector) struct SocketDirectory(PathBuf);

impl SocketDirectory {
    /// Of sockets beneath `directory`.
    pub(super) fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// The socket of a token. The directory is looked up each time: services that own such directories remove
    /// them when they stop.
    pub(super) fn lookup(&self, token: &str) -> Result<Target, LookupError> {
        let directory =
            openat(AT_FDCWD, &self.0, PLACE | OFlag::O_DIRECTORY, Mode::empty()).map_err(|error| {
                LookupError::Failed(format!("cannot open the directory {:?}: {error}", self.0))
            })?;
        // Whatever the token says, nothing is found outside the directory, and no symbolic link is followed, which
        // whoever may write there could have made.
        let found = walk::open(directory.as_fd(), OsStr::new(token), PLACE, Links::Refused);
        let file = found.map_err(|error| match error {
            Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EPERM => {
                LookupError::Failed(error.to_string())
            }
            _ => LookupError::NotFound,
        })?;
        if is_socket(&file) {
            return Ok(Target::Socket { file, path: self.0.join(token), directory: self.0.clone() });
        }
        Err(LookupError::NotFound)
    }
}

fn is_socket(file: &OwnedFd) -> bool {
    fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
}
