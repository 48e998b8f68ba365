//! Distinguishes local file systems, which respond at once, from those that may hang: network file systems, and those
//! that a program serves.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};

/// `f_type` (statfs(2)) of file systems that need no other machine and no program to answer. An overlay counts as one:
/// its layers are local in all but unusual set-ups.
const LOCAL: [u32; 11] = [
    0xef53,      // ext2 to ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
    0xca45_1a4e, // bcachefs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlayfs
    0x7371_7368, // SquashFS
    0xe0f5_e1e2, // EROFS
];

/// Whether `path` lies on a local file system. For a missing file its directory decides; in a directory the targets of
/// symbolic links count as well. This call may hang itself.
pub(crate) fn are_local(path: &Path) -> bool {
    if !path.exists() {
        return path.parent().is_some_and(is_local);
    }
    let links = fs::read_dir(path).into_iter().flatten().flatten();
    let mut links = links.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    is_local(path) && links.all(|entry| !entry.path().exists() || is_local(&entry.path()))
}

fn is_local(path: &Path) -> bool {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    rustix::fs::statfs(path)
        .is_ok_and(|found| LOCAL.iter().any(|kind| i128::from(found.f_type) == i128::from(*kind)))
}

/// Remembers whether a set of files is local, until a mount changes.
#[derive(Debug)]
pub(crate) struct Mounts {
    /// Becomes ready when a mount changes (proc_pid_mounts(5)); `None` where proc(5) is not mounted.
    mounts: Option<File>,
    local: Cell<bool>,
}

impl Mounts {
    /// Files count as not local until [`Self::answer`] says otherwise.
    pub(crate) fn new() -> Self {
        Self { mounts: File::open("/proc/self/mounts").ok(), local: Cell::new(false) }
    }

    /// Whether the files were found to be local, and no mount has changed since.
    pub(crate) fn are_local(&self) -> bool {
        if self.local.get() && self.have_changed() {
            self.local.set(false);
        }
        self.local.get()
    }

    /// Marks the moment at which the files are about to be examined: mounts that change from now on count.
    pub(crate) fn ask(&self) {
        self.local.set(false);
        let _ = self.have_changed();
    }

    /// Stores what the examination found.
    pub(crate) fn answer(&self, are_local: bool) {
        self.local.set(are_local && self.mounts.is_some());
    }

    /// Whether a mount has changed since this was asked last.
    fn have_changed(&self) -> bool {
        let Some(mounts) = &self.mounts else { return true };
        let mut fds = [PollFd::new(mounts, PollFlags::PRI)];
        !poll(&mut fds, Some(&rustix::time::Timespec::default())).is_ok_and(|changed| changed == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_proc_are_not_of_a_disk_and_what_is_missing_is_where_it_would_be() {
        let directory = tempfile::tempdir().unwrap();
        let is_local = super::is_local(directory.path());
        assert_eq!(are_local(&directory.path().join("missing")), is_local);
        assert!(!are_local(Path::new("/proc/self/status")));
        std::os::unix::fs::symlink("/proc/self/status", directory.path().join("link")).unwrap();
        assert!(!are_local(directory.path()));
    }

    #[test]
    fn an_answer_counts_while_no_mount_changes() {
        let mounts = Mounts::new();
        assert!(!mounts.are_local());
        mounts.ask();
        mounts.answer(true);
        assert!(mounts.are_local());
        mounts.ask();
        assert!(!mounts.are_local());
    }
}
