//! What a role gives up before it reads a byte from anyone but the supervisor.
//!
//! In this order, since each step takes away what the one before it needed: namespaces and the root directory
//! (`surroundings`), user and capabilities (`identity`), resources (`limits`), the file system and addresses
//! (`landlock`), and last the system calls (`seccomp`). Then `self_test` tries what must fail.
//!
//! The supervisor judges what was reached ([`Level`]); it alone knows whether that is enough.

mod identity;
mod landlock;
mod limits;
mod profile;
mod seccomp;
mod self_test;
mod surroundings;

use std::io;

use common::config::Sandbox;
use common::ipc::level::Level;
use common::ipc::setup::RunAs;

pub use profile::{Ports, Profile, Reach};

/// Gives up user, groups and capabilities, and every way to get them back, and nothing else: for programs of the
/// administrator.
///
/// # Errors
///
/// When the kernel refuses. The process must not go on then.
pub fn drop_privileges(run_as: Option<RunAs>) -> io::Result<()> {
    identity::drop_privileges(run_as)
}

/// Gives up user, groups, capabilities, and, unless that is off, all that the role has no use for. Says
/// what was reached: the kernel may lack something.
///
/// Call it before any thread is started: capabilities and filters belong to threads.
///
/// # Errors
///
/// When user or capabilities can't be given up. The role must not go on then.
pub fn enter(profile: Profile<'_>, run_as: Option<RunAs>, mode: Sandbox) -> io::Result<Level> {
    let surroundings = surroundings::leave(profile, mode);
    identity::drop_privileges(run_as)?;
    limits::set(profile, mode)?;
    let mut level = Level {
        uid: run_as.map(|run_as| run_as.uid),
        no_privileges: true,
        seccomp: false,
        landlock: 0,
        own_processes: surroundings.own_processes,
        own_network: surroundings.own_network,
        empty_root: surroundings.empty_root,
        locked_key: None,
    };
    if mode == Sandbox::Off {
        return Ok(level);
    }
    level.landlock = landlock::restrict(profile);
    level.seccomp = seccomp::install(profile).is_ok() && self_test::calls_fail(profile);
    if level.landlock > 0 && !self_test::files_are_out_of_reach() {
        level.landlock = 0;
    }
    Ok(level)
}
