//! `UnixDomainSocketDirectory`: the token is the name of a unix socket in a directory.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use common::ipc::sockets::{NoSocket, SocketName};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use rustix::fs::{FileType, fstat};

use super::error::LookupError;
use crate::beneath::walk::{self, Links};
use crate::connector::by_root::ForConnection;
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

    /// The socket of a token. The directory is looked up each time: services that own such directories remove
    /// them when they stop. Where only root may look, root is asked.
    pub(super) async fn lookup(
        &self,
        token: &str,
        by_root: Option<ForConnection<'_>>,
    ) -> Result<Target, LookupError> {
        let (name, directory) = (token.to_owned(), self.0.clone());
        match (self.find(token), by_root) {
            (Ok(file), _) if is_socket(&file) => Ok(Target::Socket { file, name, directory }),
            (Err(Unseen::Forbidden(_)), Some(by_root)) if SocketName::is_sound(token) => {
                match by_root.find(SocketName::InDirectory(name.clone())).await {
                    Ok(()) => Ok(Target::Hidden { name, directory }),
                    Err(NoSocket::Refused(why)) => Err(LookupError::Failed(why)),
                    Err(NoSocket::System(number)) => Err(error(Errno::from_raw(number))),
                }
            }
            (Err(Unseen::Failed(error) | Unseen::Forbidden(error)), _) => Err(error),
            (Ok(_), _) => Err(LookupError::NotFound),
        }
    }

    fn find(&self, token: &str) -> Result<OwnedFd, Unseen> {
        let directory =
            openat(AT_FDCWD, &self.0, PLACE | OFlag::O_DIRECTORY, Mode::empty()).map_err(|errno| {
                let why = format!("cannot open the directory {:?}: {errno}", self.0);
                Unseen::new(errno, LookupError::Failed(why))
            })?;
        // Whatever the token contains, nothing outside the directory is found. Symbolic links are not
        // followed, as anyone with write permission could have created them.
        let found = walk::open(directory.as_fd(), OsStr::new(token), PLACE, Links::Refused);
        found.map_err(|errno| Unseen::new(errno, error(errno)))
    }
}

/// Why this process finds no socket.
#[derive(Debug)]
enum Unseen {
    /// It may not look there.
    Forbidden(LookupError),
    /// Whatever else.
    Failed(LookupError),
}

impl Unseen {
    fn new(errno: Errno, error: LookupError) -> Self {
        if errno == Errno::EACCES { Self::Forbidden(error) } else { Self::Failed(error) }
    }
}

fn error(errno: Errno) -> LookupError {
    match errno {
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EPERM => {
            LookupError::Failed(errno.to_string())
        }
        _ => LookupError::NotFound,
    }
}

fn is_socket(file: &OwnedFd) -> bool {
    fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
}
