//! Resource limits.
//!
//! `NOFILE` stays at the supervisor's limit, which the supervisor relies on. `FSIZE` stays as well: standard
//! error may be a file, and the message of a panic must reach it.

use std::io;

use nix::sys::resource::{Resource, setrlimit};

use super::profile::Profile;

/// Disables core files, which would contain secrets.
pub(super) fn no_core_files() {
    // Lowering a limit is always permitted.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
}

/// Forbids processes and threads to roles that need none.
pub(super) fn no_processes(profile: Profile<'_>) -> io::Result<()> {
    if !matches!(profile, Profile::Connector(reach) if reach.needs_threads()) {
        setrlimit(Resource::RLIMIT_NPROC, 0, 0)?;
    }
    Ok(())
}
