//! Starting a program in a session of its own (setsid(2)).

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
