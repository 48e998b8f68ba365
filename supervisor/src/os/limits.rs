//! How many descriptors we may have open.

use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Soft and hard limit that we were started with.
static STARTED_WITH: OnceLock<(u64, u64)> = OnceLock::new();

/// Uses all that we may: each session takes two in its gateway. Most systems set a low soft limit only
/// for programs that use select(2).
pub(crate) fn raise_limit() {
    let (soft, hard) = started_with();
    if soft < hard {
        // What is refused leaves us with the limit that there is.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Soft and hard limit for programs that are not ours: those that we were started with.
pub(crate) fn started_with() -> (u64, u64) {
    *STARTED_WITH.get_or_init(|| getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024)))
}
