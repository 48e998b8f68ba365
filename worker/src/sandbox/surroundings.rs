//! The surroundings of a role: namespaces(7) and the root directory.
//!
//! Namespaces are a second line of defence behind seccomp and Landlock, which deny the same. They need privileges
//! that root and most plain users have, but most containers lack. So a failure is not an error, but is
//! reported.

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

/// The result, as in [`common::ipc::level::Level`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    pub(super) own_processes: bool,
    pub(super) own_network: Option<bool>,
    pub(super) empty_root: Option<bool>,
}

/// Leaves the network and the files of the system, if the role does not need them. The supervisor has started
/// the role in a PID namespace of its own, if possible.
pub(super) fn leave(profile: Profile<'_>, run_as: Option<RunAs>, mode: Sandbox) -> Surroundings {
    if mode == Sandbox::Off {
        return stay(profile);
    }
    let own_processes = std::process::id() == 1;
    let (network, root) = (profile.needs_no_network(), !profile.needs_paths());
    // Namespaces and mounts need CAP_SYS_ADMIN, or a user namespace. This one maps no users: the process
    // keeps its identity for the kernel, and can't change it.
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

/// Leaves the network, and the System V and POSIX IPC of the system. Descriptors that the role gets keep
/// working: a socket belongs to the network in which it was created.
fn leave_network() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)
}

/// Makes an empty, unmounted file system the root and working directory. Leaving it requires CAP_SYS_CHROOT,
/// which is dropped next.
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
