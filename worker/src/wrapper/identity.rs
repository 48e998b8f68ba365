//! Attributes that the wrapped program must not inherit: user, groups, capabilities, limits.

use std::io;

use caps::CapSet;
use common::ipc::wrapper::{ProgramUser, WrapperSetup};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// Changes to the program's user permanently. The bounding set stays and no_new_privs is not set, because a
/// desktop may have sudo(8).
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
        // A filter may kill for capset(2), so that it is called only if necessary.
        if !caps::read(None, set).map_err(io::Error::other)?.is_empty() {
            caps::clear(None, set).map_err(io::Error::other)?;
        }
    }
    let (soft, hard) = setup.open_files;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    // The program runs as the same user, and must not be able to inspect this process.
    prctl::set_dumpable(false)?;
    Ok(())
}
