//! The log file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::unistd::Uid;

/// As of a new log file in the original, less what the umask takes away.
const MODE: u32 = 0o644;

/// Why there is no log file.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the log file {path:?}: {source}{}", hint(.source))]
pub(crate) struct LogFileError {
    path: PathBuf,
    source: io::Error,
}

fn hint(source: &io::Error) -> &'static str {
    if source.raw_os_error() == Some(libc::ELOOP) {
        " (it is a symbolic link that belongs to somebody else)"
    } else {
        ""
    }
}

/// Opens a log file to add lines to it, and makes it if it isn't there.
///
/// A symbolic link is followed only if it belongs to us or to root: in a directory that everybody may
/// write to, others could lay one to a file of ours. A pipe without a reader is an error.
pub(super) fn open(path: &Path) -> Result<OwnedFd, LogFileError> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(MODE);
    let open = |options: &mut OpenOptions, flags: i32| -> io::Result<File> {
        options.custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK | flags).open(path)
    };
    let opened = match open(&mut options, libc::O_NOFOLLOW) {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) && link_is_trusted(path) => {
            open(&mut options, 0)
        }
        opened => opened,
    };
    opened.map(Into::into).map_err(|source| LogFileError { path: path.into(), source })
}

fn link_is_trusted(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|link| link.uid() == 0 || link.uid() == Uid::effective().as_raw())
}
