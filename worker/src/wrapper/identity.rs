//! What the wrapped program must not inherit: user, groups, capabilities, limits.

use std::io;

use caps::CapSet;
use common::ipc::wrapper::{ProgramUser, WrapperSetup};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// Becomes the program's user for good. The bounding set stays and privileges may be gained, because a desktop has
/// sudo(8).
pub(super) fn assume(setup: &WrapperSetup) -> io::Result<()> {
    if let Some(ProgramUser { uid, gid, groups }) = &setup.run_as {
        let groups: Vec<_> = groups.iter().copied().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
        setgroups(&groups)?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
    }
    // Ambient capabilities are meant for the service. Root regains its capabilities by exec.
    for set in [CapSet::Ambient, CapSet::Inheritable] {
        // A filter may end who calls capset(2); nothing is to be given up where nothing was given.
        if !caps::read(None, set).map_err(io::Error::other)?.is_empty() {
            caps::clear(None, set).map_err(io::Error::other)?;
        }
    }
    let (soft, hard) = setup.open_files;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    // The program runs as the same user and must not look into this process.
    prctl::set_dumpable(false)?;
    Ok(())
}
