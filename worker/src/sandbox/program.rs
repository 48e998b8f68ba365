//! What keeps a program of the administrator from other processes: it may read files, connect and start programs as any
//! program may, but neither see, signal, limit nor trace a process that it has not started.
//!
//! A PID namespace does most of it, where we may have one: nobody else can be named. Others of its user could still be
//! looked into by the host's /proc, which Landlock refuses between domains, from Linux 6.12 on signals too. Where
//! there is no such namespace, a filter refuses to limit others.

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

/// Shows the processes of our namespace alone, if the supervisor has started us as the first of one. Without a /proc of
/// its own a program would look for its own number among those of the host.
pub(super) fn show_own_processes() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // What is mounted later shows here as well, and what we mount nowhere else.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let filesystem = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&filesystem)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc = fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok(move_mount(&proc, "", CWD, "/proc", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// A Landlock domain of its own, which restricts nothing but what concerns other processes.
pub(super) fn enter_domain() -> Result<(), RulesetError> {
    let rules = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let signals = rules().scope(Scope::Signal).and_then(Ruleset::create);
    if let Ok(signals) = signals {
        return signals.restrict_self().map(drop);
    }
    // A domain must handle something. Making devices is refused to everybody without privilege, and moving files
    // from one directory into another, which all domains would refuse, is allowed everywhere.
    let everywhere = AccessFs::MakeBlock | AccessFs::Refer;
    let rules = rules().handle_access(everywhere)?.create()?;
    // Without a root directory there is nothing to move either.
    let Ok(root) = PathFd::new("/") else { return rules.restrict_self().map(drop) };
    rules.add_rule(PathBeneath::new(root, everywhere))?.restrict_self().map(drop)
}

/// Refuses to set limits of other processes.
pub(super) fn refuse_limits() -> Result<(), seccompiler::Error> {
    seccomp::refuse(SYS_prlimit64, &[0, 2])
}
