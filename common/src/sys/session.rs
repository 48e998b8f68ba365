//! Settings between fork and exec of a program: a session of its own (setsid(2)), and a signal when this
//! process ends.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::setsid;

/// Makes the process of `command` the leader of a session and a process group, without a terminal. It gets
/// SIGTERM when the thread that starts it ends.
pub fn lead(command: &mut Command) {
    let prepare = || {
        setsid()?;
        prctl::set_pdeathsig(Signal::SIGTERM)?;
        Ok(())
    };
    // SAFETY: runs between fork and exec. Both calls are plain system calls: they take no lock, allocate
    // nothing, and use no memory but the stack.
    unsafe { command.pre_exec(prepare) };
}

/// The process of `command` gets SIGKILL when the thread that starts it ends.
pub fn end_with_parent(command: &mut Command) {
    let prepare = || Ok(prctl::set_pdeathsig(Signal::SIGKILL)?);
    // SAFETY: runs between fork and exec. It is one plain system call: it takes no lock, allocates nothing,
    // and uses no memory but the stack.
    unsafe { command.pre_exec(prepare) };
}
