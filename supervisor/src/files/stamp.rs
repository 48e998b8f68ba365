//! Stamps, which distinguish versions of a file without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Two changes within this time may leave the same stamp: file systems record times in ticks of the kernel,
/// which are at most 10 ms long.
const TICK: Duration = Duration::from_millis(20);

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

    /// Whether the file has changed so recently that another change could leave the same stamp.
    pub(crate) fn may_change_unseen(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.changed() >= now.saturating_sub(TICK)
    }

    /// Time of the last change of content or permissions, since 1970.
    fn changed(&self) -> Duration {
        let (seconds, nanoseconds) = self.changed;
        // Times before 1970 count as 1970.
        let whole = Duration::from_secs(seconds.try_into().unwrap_or(0));
        whole.saturating_add(Duration::from_nanos(nanoseconds.try_into().unwrap_or(0)))
    }
}
