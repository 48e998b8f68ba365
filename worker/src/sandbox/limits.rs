//! Resource limits.
//!
//! `NOFILE` stays what the supervisor has, which reckons with it. `FSIZE` stays too: standard error may
//! be a file, and the last words of a panic must be able to get there.

use std::io;

use nix::sys::resource::{Resource, setrlimit};

use super::profile::{Profile, Reach};

/// No core files, which would hold what a role knows.
pub(super) fn no_core_files() {
    // A limit can always be lowered.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
}

/// No processes or threads in roles that need none.
pub(super) fn no_processes(profile: Profile<'_>) -> io::Result<()> {
    if !matches!(profile, Profile::Connector(Reach { resolves: true, .. })) {
        setrlimit(Resource::RLIMIT_NPROC, 0, 0)?;
    }
    Ok(())
}
