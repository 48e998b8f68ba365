//! Stamps, which distinguish versions of a file without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// Device, inode, size and time of the last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    device: u64,
    /// The number by which find(1) finds it.
    pub(crate) inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// Creates the stamp of a file.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Time of the last change of content or permissions, since 1970.
    pub(crate) fn changed(&self) -> Duration {
        let (seconds, nanoseconds) = self.changed;
        // Times before 1970 count as 1970.
        let whole = Duration::from_secs(seconds.try_into().unwrap_or(0));
        whole.saturating_add(Duration::from_nanos(nanoseconds.try_into().unwrap_or(0)))
    }
}
