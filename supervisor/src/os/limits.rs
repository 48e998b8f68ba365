//! The limit of open files.

use std::sync::OnceLock;

use common::sys::rehearsal::survives;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Soft and hard limit at the start.
static STARTED_WITH: OnceLock<(u64, u64)> = OnceLock::new();

/// Raises the soft limit to the hard limit, as each session takes two descriptors in its gateway. The soft
/// limit is low on most systems only for programs that use select(2).
pub(crate) fn raise_limit() {
    let (soft, hard) = started_with();
    let raise = || _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    // If this fails, the soft limit stays.
    if soft < hard && survives(raise) {
        raise();
    }
}

/// Soft and hard limit for programs of administrators: those at the start.
pub(crate) fn started_with() -> (u64, u64) {
    *STARTED_WITH.get_or_init(|| getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024)))
}
