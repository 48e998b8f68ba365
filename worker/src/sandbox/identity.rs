//! User, groups and capabilities.

use std::io;

use caps::CapSet;
use common::ipc::setup::RunAs;
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, getgroups, setgroups, setresgid, setresuid};

/// Gives up user, groups and capabilities, and every way to get them back.
pub(super) fn drop_privileges(run_as: Option<RunAs>) -> io::Result<()> {
    // That takes CAP_SETPCAP, which root may lack, and a plain user has in a user namespace of its own. It is a second
    // bolt: without new privileges no program gets these rights from its file or from being root's.
    let _ = drop_bounding();
    if let Some(RunAs { uid, gid }) = run_as {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        if getgroups().map_or(true, |groups| !groups.is_empty()) {
            setgroups(&[])?;
        }
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
        if setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
            return Err(io::Error::other("root came back after it was given up"));
        }
    }
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        give_up(set)?;
    }
    keep_privileges()
}

/// Keeps user and capabilities, and gives up every way to get more.
pub(super) fn keep_privileges() -> io::Result<()> {
    prctl::set_no_new_privs()?;
    // Neither a core file nor a debugger of the same user may show what a role knows.
    prctl::set_dumpable(false)?;
    Ok(())
}

/// No program can give these rights back. The set can be emptied only while CAP_SETPCAP is there.
fn drop_bounding() -> io::Result<()> {
    give_up(CapSet::Bounding)
}

/// Empties a set, unless it is empty: where nothing was given, not even giving it up may be allowed.
fn give_up(set: CapSet) -> io::Result<()> {
    let failed = |error| io::Error::other(format!("cannot drop capabilities: {error}"));
    if caps::read(None, set).map_err(failed)?.is_empty() {
        return Ok(());
    }
    caps::clear(None, set).map_err(failed)
}
