//! Trying a step out in a copy of this process (fork(2)), which it may end.
//!
//! A filter of system calls that others have set, such as `SystemCallFilter=` of systemd.exec(5), may end a process
//! for a call (`SECCOMP_RET_KILL_PROCESS` of seccomp(2)), and no process can ask for that beforehand.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

/// How a copy of this process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With the status that its step gave.
    With(u8),
    /// By a signal.
    Killed(Signal),
}

/// Does `step` in a copy of this process, which ends with the status that it gives. What it changes of the process is
/// gone with the copy; what it writes is not.
///
/// Call it while this process has no other thread, or make only system calls in the step: in the copy, locks that other
/// threads hold stay locked. The supervisor has threads that write its logs.
///
/// # Errors
///
/// When there can be no copy, such as for want of processes.
pub fn rehearse(step: impl FnOnce() -> u8) -> io::Result<Ended> {
    // SAFETY: the callers have no other thread, so that the copy may do whatever this process may; or their step makes
    // only system calls, which take no lock that another thread may have held. The copy ends by _exit(2) below, so that
    // it drops and flushes nothing that belongs to this process. A panic ends it too, by the hook of `fault`.
    match unsafe { fork() }? {
        ForkResult::Child => {
            // It must leave no core file where a signal ends it.
            let _ = prctl::set_dumpable(false);
            let status = step();
            // SAFETY: ends the process; no memory is touched.
            unsafe { libc::_exit(status.into()) }
        }
        ForkResult::Parent { child } => loop {
            match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, status)) => {
                    return Ok(Ended::With(u8::try_from(status & 0xff).unwrap_or(u8::MAX)));
                }
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Ended::Killed(signal)),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        },
    }
}

/// Whether this process goes on when it does `step`. Only a filter that others have set is a reason to try it out.
#[must_use]
pub fn survives(step: impl FnOnce()) -> bool {
    if !is_filtered() {
        return true;
    }
    let ended = rehearse(|| {
        step();
        0
    });
    // What can't be tried out is done, as if there were no filter.
    !matches!(ended, Ok(Ended::Killed(_)))
}

/// Whether a filter of system calls is in force; assumed where proc(5) does not tell.
fn is_filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    field.is_none_or(|mode| mode.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    // The tests of a crate run in threads. These copies take no lock.

    #[test]
    fn the_status_of_a_step_is_seen_and_its_changes_are_not() {
        let mut changed = false;
        let ended = rehearse(|| {
            changed = true;
            7
        });
        assert_eq!(ended.unwrap(), Ended::With(7));
        assert!(!changed);
    }

    #[test]
    fn a_step_may_end_the_copy() {
        let ended = rehearse(|| {
            nix::sys::signal::raise(Signal::SIGSYS).unwrap();
            0
        });
        assert_eq!(ended.unwrap(), Ended::Killed(Signal::SIGSYS));
    }
}
