//! What the program shall not have from us: user, groups, capabilities, limits.

use std::io;

use caps::CapSet;
use common::ipc::wrapper::{ProgramUser, WrapperSetup};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// Becomes the program's user, for good. The bounding set stays, and new privileges may be got: a desktop
/// has sudo(8) like every other.
pub(super) fn assume(setup: &WrapperSetup) -> io::Result<()> {
    if let Some(ProgramUser { uid, gid, groups }) = &setup.run_as {
        let groups: Vec<_> = groups.iter().copied().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
        setgroups(&groups)?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
    }
    // What a service manager gave us is for us. Root's own come back with exec.
    for set in [CapSet::Ambient, CapSet::Inheritable] {
        caps::clear(None, set).map_err(io::Error::other)?;
    }
    let (soft, hard) = setup.open_files;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    // The program is of the same user, and should not look into this process.
    prctl::set_dumpable(false)?;
    Ok(())
}
