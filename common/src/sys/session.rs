//! What a program that we start is told between fork and exec: a session of its own (setsid(2)), and to end with us.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::setsid;

/// Makes what `command` starts lead a session and a process group of its own, away from any terminal, and
/// get SIGTERM when the thread that starts it ends.
pub fn lead(command: &mut Command) {
    let prepare = || {
        setsid()?;
        prctl::set_pdeathsig(Signal::SIGTERM)?;
        Ok(())
    };
    // SAFETY: runs between fork and exec. Both calls are system calls and nothing else: they take no lock,
    // allocate nothing, and use no memory but the stack.
    unsafe { command.pre_exec(prepare) };
}

/// Makes what `command` starts get SIGKILL when the thread that starts it ends.
pub fn end_with_parent(command: &mut Command) {
    let prepare = || Ok(prctl::set_pdeathsig(Signal::SIGKILL)?);
    // SAFETY: runs between fork and exec. It is one system call: it takes no lock, allocates nothing, and uses no
    // memory but the stack.
    unsafe { command.pre_exec(prepare) };
}
