//! The sandbox of a role, which it enters before it reads a byte from anyone but the supervisor.
//!
//! The order matters, since each step removes what the previous ones needed: namespaces and the root
//! directory (`surroundings`), user and capabilities (`identity`), files and addresses (`landlock`),
//! resources (`limits`), and finally system calls (`seccomp`). Then `self_test` tries operations that must
//! fail.
//!
//! The supervisor judges the result ([`Level`]); only it knows whether that suffices.

mod identity;
mod landlock;
mod limits;
mod name_services;
mod profile;
mod program;
pub(crate) mod resolver;
mod seccomp;
mod self_test;
mod surroundings;

use std::io;

use common::config::Sandbox;
use common::ipc::level::{Deadly, Level, Part};
use common::ipc::setup::RunAs;
use common::sys::rehearsal::survives;

pub use name_services::need_unix_sockets as names_need_unix_sockets;
pub use profile::{Ports, Profile, Reach};

/// Drops user, groups and capabilities, and every way to regain them, and nothing else: for programs of the
/// administrator. Returns whether that was done. If a filter set by others would kill the process for it, the
/// process keeps its privileges.
///
/// # Errors
///
/// Fails if the kernel refuses. The process must not continue then.
pub fn drop_privileges(run_as: Option<RunAs>) -> io::Result<bool> {
    if survives(|| _ = identity::drop_privileges(run_as)) {
        return identity::drop_privileges(run_as).map(|()| true);
    }
    if survives(|| _ = identity::keep_privileges()) {
        identity::keep_privileges()?;
    }
    Ok(false)
}

/// Hides other processes from a program of the administrator, if `apart` and if privileges permit it.
pub fn leave_other_processes(apart: bool) {
    // Otherwise the Landlock domain below still prevents access to other processes.
    let show = || _ = program::show_own_processes();
    if apart && is_first_process() && survives(show) {
        show();
    }
}

/// Prevents a program of the administrator, which is about to be started, from signalling, limiting, tracing
/// and reading processes that it has not started, as far as the kernel supports that.
pub fn keep_program_apart() {
    let enter = || _ = program::enter_domain();
    if survives(enter) {
        enter();
    }
    // In a PID namespace of its own, the program can't name other processes.
    let refuse = || _ = program::refuse_limits();
    if !is_first_process() && survives(refuse) {
        refuse();
    }
}

/// Whether this is the first process of a PID namespace, which the supervisor creates if it may.
fn is_first_process() -> bool {
    std::process::id() == 1
}

/// Drops user, groups and capabilities and, unless the sandbox is off, everything that the role does not
/// need. Returns the level that was reached: the kernel may lack a feature, and a filter set by others may
/// kill the process for a step, which is detected in copies of this process.
///
/// Must be called before any thread is started: capabilities and filters belong to threads.
///
/// # Errors
///
/// Fails if user or capabilities can't be dropped. The role must not continue then.
pub fn enter(profile: Profile<'_>, run_as: Option<RunAs>, mode: Sandbox) -> io::Result<Level> {
    let mut deadly = Deadly::NONE;
    if survives(limits::no_core_files) {
        limits::no_core_files();
    } else {
        deadly = deadly.and(Part::Limits);
    }
    // In a user namespace of its own, a plain user has capabilities, which must be dropped.
    let leave = || surroundings::leave(profile, run_as, mode);
    let surroundings = if survives(|| _ = (leave(), identity::drop_privileges(run_as))) {
        leave()
    } else {
        surroundings::stay(profile)
    };
    let no_privileges = drop_privileges(run_as)?;
    if !no_privileges {
        deadly = deadly.and(Part::Privileges);
    }
    let mut level = Level {
        uid: run_as.filter(|_| no_privileges).map(|run_as| run_as.uid),
        no_privileges,
        seccomp: false,
        landlock: 0,
        own_processes: surroundings.own_processes,
        own_network: surroundings.own_network,
        empty_root: surroundings.empty_root,
        sees_files: profile.needs_paths(),
        locked_key: None,
        deadly,
    };
    if mode == Sandbox::Off {
        return Ok(level);
    }
    if survives(|| _ = landlock::restrict(profile)) {
        level.landlock = landlock::restrict(profile);
    } else {
        level.deadly = level.deadly.and(Part::Landlock);
    }
    if let Profile::Connector(Reach { resolves: true, .. }) = profile {
        resolver::begin();
    }
    let confine = || seccomp::install(profile).is_ok() && self_test::calls_fail(profile);
    // Before processes are forbidden.
    let may_confine = survives(|| _ = confine());
    let may_limit = survives(|| _ = limits::no_processes(profile));
    if may_limit {
        limits::no_processes(profile)?;
    } else {
        level.deadly = level.deadly.and(Part::Limits);
    }
    if may_confine {
        level.seccomp = confine();
    } else {
        level.deadly = level.deadly.and(Part::Seccomp);
    }
    if level.landlock > 0 && !self_test::files_are_out_of_reach() {
        level.landlock = 0;
    }
    Ok(level)
}
