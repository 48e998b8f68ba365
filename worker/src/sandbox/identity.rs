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
    Ok(())
}

fn drop_all(set: CapSet) -> io::Result<()> {
    caps::clear(None, set).map_err(|error| io::Error::other(format!("cannot drop capabilities: {error}")))
}
