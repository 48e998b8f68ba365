//! What a role gives up before it reads a byte from anyone but the supervisor.
//!
//! In this order, since each step takes away what the one before it needed: namespaces and the root directory
//! (`surroundings`), user and capabilities (`identity`), the file system and addresses (`landlock`), resources
//! (`limits`), and last the system calls (`seccomp`). Then `self_test` tries what must fail.
//!
//! The supervisor judges what was reached ([`Level`]); it alone knows whether that is enough.

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

/// Gives up user, groups and capabilities, and every way to get them back, and nothing else: for programs of the
/// administrator. Says whether that was done: where a filter that others have set ends who does it, the process keeps what
/// it has.
///
/// # Errors
///
/// When the kernel refuses. The process must not go on then.
pub fn drop_privileges(run_as: Option<RunAs>) -> io::Result<bool> {
    if survives(|| _ = identity::drop_privileges(run_as)) {
        return identity::drop_privileges(run_as).map(|()| true);
    }
    if survives(|| _ = identity::keep_privileges()) {
        identity::keep_privileges()?;
    }
    Ok(false)
}

/// Leaves what other processes there are to see, for programs of the administrator: `apart` is whether they shall be
/// kept from others at all. It takes privileges.
pub fn leave_other_processes(apart: bool) {
    // Without it the domain below still keeps it from looking into others.
    let show = || _ = program::show_own_processes();
    if apart && is_first_process() && survives(show) {
        show();
    }
}

/// Keeps a program of the administrator, which is to be started, from signalling, limiting, tracing and reading
/// processes that it has not started, as far as the kernel goes.
pub fn keep_program_apart() {
    let enter = || _ = program::enter_domain();
    if survives(enter) {
        enter();
    }
    // Nobody else can be named in a namespace of its own.
    let refuse = || _ = program::refuse_limits();
    if !is_first_process() && survives(refuse) {
        refuse();
    }
}

/// Whether we are the first of a PID namespace, which the supervisor makes for us if it may.
fn is_first_process() -> bool {
    std::process::id() == 1
}

/// Gives up user, groups, capabilities, and, unless that is off, all that the role has no use for. Says
/// what was reached: the kernel may lack something, and a filter that others have set may end who asks for it, which is
/// tried out in copies of this process.
///
/// Call it before any thread is started: capabilities and filters belong to threads.
///
/// # Errors
///
/// When user or capabilities can't be given up. The role must not go on then.
pub fn enter(profile: Profile<'_>, run_as: Option<RunAs>, mode: Sandbox) -> io::Result<Level> {
    let mut deadly = Deadly::NONE;
    if survives(limits::no_core_files) {
        limits::no_core_files();
    } else {
        deadly = deadly.and(Part::Limits);
    }
    // In a user namespace of its own a plain user has capabilities, which must be given up.
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
    // Before there can be no more processes.
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
