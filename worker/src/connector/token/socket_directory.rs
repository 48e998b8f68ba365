//! `UnixDomainSocketDirectory`: the token is the name of a unix socket in a folder.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;

use super::LookupError;
use crate::connector::target::Target;

/// Whatever the token says, the kernel finds nothing outside the folder, and follows no symbolic link,
/// which whoever may write there could have made.
const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A place in the file system, without the right to read or write what is there.
const PLACE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// The folder.
#[derive(Debug)]
pub(in crate::connector) struct SocketDirectory(PathBuf);

impl SocketDirectory {
    /// Of sockets beneath `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The socket of a token. The folder is looked up each time: services that own such folders remove
    /// them when they stop.
    pub(super) fn lookup(&self, token: &str) -> Result<Target, LookupError> {
        let folder = openat(CWD, &self.0, PLACE | OFlags::DIRECTORY, Mode::empty())
            .map_err(|error| LookupError::Failed(format!("cannot open the folder {:?}: {error}", self.0)))?;
        let file = openat2(&folder, token, PLACE, Mode::empty(), BENEATH).map_err(|error| match error {
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::PERM | Errno::NOSYS => {
                LookupError::Failed(error.to_string())
            }
            _ => LookupError::NotFound,
        })?;
        if is_socket(&file) {
            return Ok(Target::Socket { file, path: self.0.join(token) });
        }
        Err(LookupError::NotFound)
    }
}

fn is_socket(file: &OwnedFd) -> bool {
    fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
}
