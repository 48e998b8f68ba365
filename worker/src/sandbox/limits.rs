//! Resource limits.
//!
//! `NOFILE` stays what the supervisor has, which reckons with it. `FSIZE` stays too: standard error may
//! be a file, and the last words of a panic must be able to get there.

use std::io;

use common::config::Sandbox;
use nix::sys::resource::{Resource, setrlimit};

use super::profile::{Profile, Reach};

/// No core files; and no processes or threads in roles that need none.
pub(super) fn set(profile: Profile<'_>, mode: Sandbox) -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    if mode != Sandbox::Off && !matches!(profile, Profile::Connector(Reach { resolves: true, .. })) {
        setrlimit(Resource::RLIMIT_NPROC, 0, 0)?;
    }
    Ok(())
}
