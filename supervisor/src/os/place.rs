//! Files that are identified by a name in an open directory.
//!
//! Anyone who may write to a directory on a path can make the path lead to another file at any time. So files
//! that were created by their path are found again, changed and removed only through a [`Place`].

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, unlinkat};
use rustix::process::{getegid, geteuid};

/// Opens a location in the file system without the permission to read or write it.
const HANDLE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// A name in an open directory.
#[derive(Debug)]
pub(crate) struct Place {
    pub(super) directory: OwnedFd,
    pub(crate) name: OsString,
    /// Path as configured, for messages.
    pub(crate) path: PathBuf,
}

/// The file at a place.
#[derive(Debug)]
pub(crate) struct PlacedFile {
    /// Opened with `O_PATH`. It refers to the same file even if its name changes. While it is open, no other
    /// file gets its inode.
    pub(super) file: OwnedFd,
    pub(crate) stat: Stat,
}

/// Other users who can make the names of a directory lead to other files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writers {
    /// The owner, if that is neither root nor the current user.
    Owner(u32),
    /// The members of a group.
    Group(u32),
    Everybody,
}

impl fmt::Display for Writers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(uid) => write!(f, "user {uid}"),
            Self::Group(gid) => write!(f, "group {gid}"),
            Self::Everybody => f.write_str("everybody"),
        }
    }
}

impl Place {
    /// The place that `path` currently leads to. Its directory must exist, and is kept open.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Self::from(CWD, path)
    }

    fn from(start: BorrowedFd<'_>, path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let directory = match path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        };
        let directory = openat(start, directory, HANDLE | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Self::within(directory, name.to_owned(), path))
    }

    /// The place of `name` in an open directory.
    pub(crate) fn within(directory: OwnedFd, name: OsString, path: &Path) -> Self {
        Self { directory, name, path: path.to_owned() }
    }

    /// Opens or creates the file. A symbolic link is never followed: the error is `ELOOP`.
    pub(crate) fn open(&self, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        self.open_beside(&self.name, flags, mode)
    }

    /// Like [`Self::open`], for another name in the directory.
    pub(crate) fn open_beside(&self, name: &OsStr, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        Ok(openat(&self.directory, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode)?)
    }

    /// All names in the directory.
    pub(crate) fn names(&self) -> io::Result<impl Iterator<Item = OsString>> {
        let directory =
            self.open_beside(OsStr::new("."), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let entries = Dir::new(directory)?;
        Ok(entries.filter_map(|entry| Some(OsStr::from_bytes(entry.ok()?.file_name().to_bytes()).to_owned())))
    }

    /// Opens the destination of the symbolic link. Only for links that no other user can change.
    pub(super) fn open_through(&self, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(openat(&self.directory, &self.name, flags | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// The place that a relative path leads to from the same directory.
    pub(super) fn beside(&self, path: &Path) -> io::Result<Self> {
        Self::from(self.directory.as_fd(), path)
    }

    /// Finds the file, which may be a symbolic link.
    pub(super) fn find(&self) -> io::Result<PlacedFile> {
        let file = self.open(HANDLE, Mode::empty())?;
        PlacedFile::new(file)
    }

    /// Removes the name.
    ///
    /// No system call removes a name only if it leads to a certain file. Someone who exchanges the file just
    /// before loses it, but could have removed it anyway, having write permission for the directory.
    pub(super) fn remove(&self) -> io::Result<()> {
        Ok(unlinkat(&self.directory, &self.name, AtFlags::empty())?)
    }

    /// Returns who else may exchange the file. In a directory with the sticky bit, such as /tmp, only the
    /// owners of directory and file may. A directory of ours with our group counts as ours, as many users
    /// have a group of their own.
    pub(crate) fn writers(&self) -> Option<Writers> {
        let stat = fstat(&self.directory).ok()?;
        writers(stat.st_mode, (stat.st_uid, stat.st_gid), (geteuid().as_raw(), getegid().as_raw()))
    }
}

fn writers(mode: u32, owner: (u32, u32), us: (u32, u32)) -> Option<Writers> {
    let mode = Mode::from_raw_mode(mode);
    if owner.0 != 0 && owner.0 != us.0 {
        Some(Writers::Owner(owner.0))
    } else if mode.contains(Mode::SVTX) {
        None
    } else if mode.contains(Mode::WOTH) {
        Some(Writers::Everybody)
    } else if mode.contains(Mode::WGRP) && owner.1 != us.1 && owner.1 != 0 {
        Some(Writers::Group(owner.1))
    } else {
        None
    }
}

impl PlacedFile {
    pub(super) fn new(file: OwnedFd) -> io::Result<Self> {
        let stat = fstat(&file)?;
        Ok(Self { file, stat })
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.stat.st_dev, self.stat.st_ino) == (other.stat.st_dev, other.stat.st_ino)
    }

    pub(crate) fn is(&self, kind: FileType) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == kind
    }

    /// A path that leads to exactly this file (proc(5)), for system calls that require a path.
    pub(crate) fn link(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_determines_who_may_exchange_a_file() {
        let (root, we, other) = ((0, 0), (1000, 1000), (33, 33));
        for (mode, owner, us, expected) in [
            (0o755, root, root, None),
            (0o755, root, we, None),
            (0o755, we, we, None),
            (0o755, other, root, Some(Writers::Owner(33))),
            (0o1777, other, root, Some(Writers::Owner(33))),
            (0o1777, root, we, None),
            (0o777, root, root, Some(Writers::Everybody)),
            (0o777, we, we, Some(Writers::Everybody)),
            (0o775, root, root, None),
            (0o775, we, we, None),
            (0o775, (0, 33), root, Some(Writers::Group(33))),
            (0o1775, (0, 33), root, None),
            (0o775, (1000, 33), we, Some(Writers::Group(33))),
        ] {
            assert_eq!(writers(mode, owner, us), expected, "{mode:o} of {owner:?} for {us:?}");
        }
    }
}
