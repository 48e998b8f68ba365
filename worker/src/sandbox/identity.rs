//! User, groups, capabilities and namespaces.

use std::io;

use caps::CapSet;
use common::ipc::setup::RunAs;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::Profile;

/// Leaves the network, and what System V and POSIX share between processes, for empty namespaces of
/// its own, if it has the right to. Descriptors that it is given keep working: a socket belongs to the
/// network that it was made in. It is one more fence behind seccomp, so that failing is no matter.
pub(super) fn leave_namespaces(profile: Profile<'_>) {
    if let Profile::Gateway { .. } | Profile::Signer = profile {
        let _ = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS);
    }
}

/// Gives up user, groups and capabilities, and every way to get them back.
pub(super) fn drop_privileges(run_as: Option<RunAs>) -> io::Result<()> {
    if let Some(RunAs { uid, gid }) = run_as {
        // The bounding set can be emptied only while CAP_SETPCAP is there.
        give_up(CapSet::Bounding)?;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        setgroups(&[])?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
        if setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
            return Err(io::Error::other("root came back after it was given up"));
        }
    }
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        give_up(set)?;
    }
    prctl::set_no_new_privs()?;
    // Neither a core file nor a debugger of the same user may show what a role knows.
    prctl::set_dumpable(false)?;
    Ok(())
}

/// Empties a set, unless it is empty: where nothing was given, not even giving it up may be allowed.
fn give_up(set: CapSet) -> io::Result<()> {
    let failed = |error| io::Error::other(format!("cannot drop capabilities: {error}"));
    if caps::read(None, set).map_err(failed)?.is_empty() {
        return Ok(());
    }
    caps::clear(None, set).map_err(failed)
}
