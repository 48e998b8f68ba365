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

/// Opens a location in the file system without the permission to read or write it.
const PLACE: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// A directory of sockets, one for each token.
#[derive(Debug)]
pub(in crate::connector) struct SocketDirectory(PathBuf);

impl SocketDirectory {
    /// Looks up sockets beneath `directory`.
    pub(super) fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// Returns the socket of a token. The directory is opened each time, as services remove and recreate
    /// theirs.
    pub(super) fn lookup(&self, token: &str) -> Result<Target, LookupError> {
        let directory =
            openat(AT_FDCWD, &self.0, PLACE | OFlag::O_DIRECTORY, Mode::empty()).map_err(|error| {
                LookupError::Failed(format!("cannot open the directory {:?}: {error}", self.0))
            })?;
        // Whatever the token contains, nothing outside the directory is found. Symbolic links are not
        // followed, as anyone with write permission could have created them.
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
