//! The log file.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::libc;
use rustix::fs::{FileType, Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, readlinkat};
use rustix::process::geteuid;

use crate::os::place::{Place, Writers};

/// Permissions of a new log file as in the original, before the umask is applied.
const MODE: Mode = Mode::from_raw_mode(0o644);

/// A FIFO without a reader is an error, and a terminal does not become the controlling one.
const FLAGS: OFlags =
    OFlags::WRONLY.union(OFlags::APPEND).union(OFlags::CREATE).union(OFlags::NOCTTY).union(OFlags::NONBLOCK);

/// Maximum number of symbolic links, as in the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The log file can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the log file {path:?}: {source}{}", hint(.source))]
pub(crate) struct LogFileError {
    path: PathBuf,
    source: io::Error,
}

/// The log file.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) file: OwnedFd,
    /// Other users who can redirect our lines. Groups are omitted, as /var/log belongs to a group on common
    /// systems.
    pub(super) writers: Option<Writers>,
}

fn hint(source: &io::Error) -> &'static str {
    if source.raw_os_error() == Some(libc::ELOOP) { " (it is a symbolic link of another user)" } else { "" }
}

/// Opens a log file for appending, and creates it if it does not exist.
///
/// A symbolic link is followed only if its owner is the current user or root: in a directory that everybody
/// may write to, others could create a link to a file of ours. The link is identified by a descriptor, so
/// that it can't be exchanged between check and use.
pub(super) fn open(path: &Path) -> Result<LogFile, LogFileError> {
    find(path).map_err(|source| LogFileError { path: path.into(), source })
}

fn find(path: &Path) -> io::Result<LogFile> {
    let mut place = Place::of(path)?;
    for _ in 0..MAX_LINKS {
        match place.open(FLAGS, MODE) {
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => match follow(&place)? {
                Followed::Place(next) => place = next,
                Followed::File(file) => return Ok(LogFile { file, writers: None }),
            },
            opened => {
                let writers = place.writers().filter(|writers| !matches!(writers, Writers::Group(_)));
                return Ok(LogFile { file: opened?, writers });
            }
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

enum Followed {
    Place(Place),
    File(OwnedFd),
}

/// Follows a symbolic link, if that is permitted.
fn follow(place: &Place) -> io::Result<Followed> {
    let link = place.find()?;
    let is_trusted = link.stat.st_uid == 0 || link.stat.st_uid == geteuid().as_raw();
    if !link.is(FileType::Symlink) || !is_trusted {
        return Err(io::Error::from_raw_os_error(libc::ELOOP));
    }
    if fstatfs(&link.file)?.f_type == PROC_SUPER_MAGIC {
        // Reached by way of /dev/stderr. Such links are made by the kernel, and their text is not a path
        // (proc(5)).
        return place.open_through(FLAGS).map(Followed::File);
    }
    let target = PathBuf::from(std::ffi::OsString::from(
        readlinkat(&link.file, "", Vec::new())?.into_string().map_err(io::Error::other)?,
    ));
    if target.is_absolute() { Place::of(&target) } else { place.beside(&target) }.map(Followed::Place)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{lchown, symlink};

    use rustix::process::geteuid;

    use super::*;

    fn write(path: &Path) -> Result<(), LogFileError> {
        fs::File::from(open(path)?.file).write_all(b"line\n").unwrap();
        Ok(())
    }

    #[test]
    fn links_of_ours_are_followed_wherever_they_lead() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("elsewhere")).unwrap();
        symlink("elsewhere/second", at("first")).unwrap();
        symlink("../log", at("elsewhere/second")).unwrap();
        symlink(at("first"), at("absolute")).unwrap();
        write(&at("absolute")).unwrap();
        write(&at("first")).unwrap();
        assert_eq!(fs::read(at("log")).unwrap(), b"line\nline\n");
    }

    #[test]
    fn a_link_in_proc_is_followed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(file.as_file());
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("stdout");
        symlink(format!("/proc/self/fd/{number}"), &link).unwrap();
        write(&link).unwrap();
        assert_eq!(fs::read(file.path()).unwrap(), b"line\n");
    }

    #[test]
    fn a_link_of_another_user_is_not_followed() {
        if !geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("victim"), "secret").unwrap();
        symlink(at("victim"), at("theirs")).unwrap();
        lchown(at("theirs"), Some(33), Some(33)).unwrap();
        symlink(at("theirs"), at("ours")).unwrap();
        for name in ["theirs", "ours"] {
            let error = write(&at(name)).unwrap_err();
            assert_eq!(error.source.raw_os_error(), Some(libc::ELOOP), "{name}");
        }
        symlink("circle", at("circle")).unwrap();
        assert_eq!(write(&at("circle")).unwrap_err().source.raw_os_error(), Some(libc::ELOOP));
        assert_eq!(fs::read(at("victim")).unwrap(), b"secret");
    }
}
