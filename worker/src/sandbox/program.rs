//! Isolation of a program of the administrator from other processes. It may read files, connect and start
//! programs like any program, but neither see, signal, limit nor trace processes that it has not started.
//!
//! If available, a PID namespace does most of it, as others can't be named in it. Processes of the same user
//! could still be inspected through the host's /proc. Landlock denies that between domains, and from Linux
//! 6.12 on signals too. Without a PID namespace, a filter denies setting limits of other processes.

use std::io;

use landlock::{
    AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, Scope,
};
use libc::SYS_prlimit64;
use nix::sched::{CloneFlags, unshare};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, fsconfig_create,
    fsmount, fsopen, mount_change, move_mount,
};

use super::seccomp;

/// Mounts a /proc that shows only the processes of our PID namespace, if the supervisor has created one. With
/// the host's /proc a program would look for its own number among the host's processes.
pub(super) fn show_own_processes() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Later mounts of the host appear here as well, but ours appear nowhere else.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let filesystem = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&filesystem)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc = fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok(move_mount(&proc, "", CWD, "/proc", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Enters a Landlock domain that restricts nothing but access to other processes.
pub(super) fn enter_domain() -> Result<(), RulesetError> {
    let rules = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let signals = rules().scope(Scope::Signal).and_then(Ruleset::create);
    if let Ok(signals) = signals {
        return signals.restrict_self().map(drop);
    }
    // A domain must handle something. Creating devices is denied to unprivileged processes anyway, and moving
    // files between directories, which every domain denies by default, is allowed everywhere.
    let everywhere = AccessFs::MakeBlock | AccessFs::Refer;
    let rules = rules().handle_access(everywhere)?.create()?;
    // Without a root directory there is nothing to move either.
    let Ok(root) = PathFd::new("/") else { return rules.restrict_self().map(drop) };
    rules.add_rule(PathBeneath::new(root, everywhere))?.restrict_self().map(drop)
}

/// Denies setting the limits of other processes.
pub(super) fn refuse_limits() -> Result<(), seccompiler::Error> {
    seccomp::refuse(SYS_prlimit64, &[0, 2])
}
