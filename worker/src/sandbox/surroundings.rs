//! What a role sees of the system around it: namespaces(7) and the root directory.
//!
//! These are fences behind seccomp and Landlock, which refuse the same. They need rights that root and
//! most plain users have and most containers have not, so that failing is no error, but told.

use std::io;

use caps::CapSet;
use caps::Capability::CAP_SYS_ADMIN;
use common::config::Sandbox;
use common::ipc::setup::RunAs;
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};
use rustix::process::{chroot, fchdir};

use super::profile::Profile;

/// What was reached, as in [`common::ipc::level::Level`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    pub(super) own_processes: bool,
    pub(super) own_network: Option<bool>,
    pub(super) empty_root: Option<bool>,
}

/// Leaves the network and the files of the system, as far as the role needs neither. The supervisor has
/// started it in a PID namespace of its own, if it may.
pub(super) fn leave(profile: Profile<'_>, run_as: Option<RunAs>, mode: Sandbox) -> Surroundings {
    if mode == Sandbox::Off {
        return stay(profile);
    }
    let own_processes = std::process::id() == 1;
    let (network, root) = (profile.needs_no_network(), !profile.needs_paths());
    // Namespaces and mounts take CAP_SYS_ADMIN, or a user namespace of one's own. It maps no user:
    // the kernel knows us as before, and nobody can become anybody else.
    if root && run_as.is_none() && !caps::has_cap(None, CapSet::Effective, CAP_SYS_ADMIN).unwrap_or(false) {
        let _ = unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS);
    }
    Surroundings {
        own_processes,
        own_network: network.then(|| leave_network().is_ok()),
        empty_root: root.then(|| leave_files().is_ok_and(|()| is_empty_root())),
    }
}

/// Leaves nothing.
pub(super) fn stay(profile: Profile<'_>) -> Surroundings {
    let not = |wanted: bool| wanted.then_some(false);
    Surroundings {
        own_processes: std::process::id() == 1,
        own_network: not(profile.needs_no_network()),
        empty_root: not(!profile.needs_paths()),
    }
}

/// Leaves the network, and what System V and POSIX share between processes. Descriptors that the role is
/// given keep working: a socket belongs to the network that it was made in.
fn leave_network() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)
}

/// Makes an empty file system that is mounted nowhere the root and working directory. Nothing leads out of it
/// without CAP_SYS_CHROOT, which is given up next.
fn leave_files() -> io::Result<()> {
    let filesystem = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&filesystem, "mode", "0555")?;
    fsconfig_create(&filesystem)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    fchdir(&root)?;
    Ok(chroot(".")?)
}

fn is_empty_root() -> bool {
    std::fs::read_dir("/").is_ok_and(|mut entries| entries.next().is_none())
}
