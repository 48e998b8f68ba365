//! User, groups and capabilities.

use std::io;

use caps::CapSet;
use common::ipc::setup::RunAs;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::process::getgroups;

/// Drops user, groups and capabilities, and every way to regain them.
pub(super) fn drop_privileges(run_as: Option<RunAs>) -> io::Result<()> {
    // This requires CAP_SETPCAP, which root may lack, and which a plain user has in a user namespace of its
    // own. It is a second line of defence: with no_new_privs no program gains capabilities from its file or
    // from running as root.
    let _ = drop_bounding();
    if let Some(RunAs { uid, gid }) = run_as {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        if getgroups().map_or(true, |groups| !groups.is_empty()) {
            setgroups(&[])?;
        }
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
        if setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
            return Err(io::Error::other("root could be regained after it was dropped"));
        }
    }
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        give_up(set)?;
    }
    keep_privileges()
}

/// Keeps user and capabilities, gives up every way to gain more, and has the kernel kill this process when the
/// supervisor ends.
pub(super) fn keep_privileges() -> io::Result<()> {
    prctl::set_no_new_privs()?;
    // Neither a core file nor a debugger of the same user may reveal the role's secrets.
    prctl::set_dumpable(false)?;
    // A role that hangs does not see that its channel is closed. A change of the user would reset this.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(())
}

/// Empties the bounding set, so that no program can regain capabilities. Possible only with CAP_SETPCAP.
fn drop_bounding() -> io::Result<()> {
    give_up(CapSet::Bounding)
}

/// Empties a capability set, unless it is empty: even the system call to do so may be forbidden.
fn give_up(set: CapSet) -> io::Result<()> {
    let failed = |error| io::Error::other(format!("cannot drop capabilities: {error}"));
    if caps::read(None, set).map_err(failed)?.is_empty() {
        return Ok(());
    }
    caps::clear(None, set).map_err(failed)
}
