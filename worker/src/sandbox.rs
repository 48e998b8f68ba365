//! What a role gives up before it reads a byte from anyone but the supervisor.

use std::io;

use caps::CapSet;
use common::ipc::setup::RunAs;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// Gives up user, groups, capabilities, and every way to get them back.
///
/// Call it before any thread is started: capabilities belong to threads (capabilities(7)).
///
/// # Errors
///
/// When something can't be given up. The role must not go on then.
pub fn enter(run_as: Option<RunAs>) -> io::Result<()> {
    if let Some(RunAs { uid, gid }) = run_as {
        // The bounding set can be emptied only while CAP_SETPCAP is there.
        drop_all(CapSet::Bounding)?;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        setgroups(&[])?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
        if setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
            return Err(io::Error::other("root came back after it was given up"));
        }
    }
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        drop_all(set)?;
    }
    prctl::set_no_new_privs()?;
    // Neither a core file nor a debugger of the same user may show what a role knows.
    prctl::set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    Ok(())
}

fn drop_all(set: CapSet) -> io::Result<()> {
    caps::clear(None, set).map_err(|error| io::Error::other(format!("cannot drop capabilities: {error}")))
}
