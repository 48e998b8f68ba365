//! Rehearsal of a step in a copy of this process (fork(2)), which the step may kill.
//!
//! A system call filter set by others, such as `SystemCallFilter=` of systemd.exec(5), may kill a process for
//! a call (`SECCOMP_RET_KILL_PROCESS` of seccomp(2)), and no process can query that beforehand.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

/// How the copy has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The child has exited with the status of the step.
    With(u8),
    /// The child was killed by a signal.
    Killed(Signal),
}

/// Runs `step` in a copy of this process, which exits with the returned status. Changes of the process are
/// lost with the copy, but what it writes is not.
///
/// Either this process must have no other threads, or the step must make only system calls: in the copy,
/// locks that other threads hold stay locked. The supervisor has threads that write its logs.
///
/// # Errors
///
/// Fails if the process can't be copied, for instance because of a limit.
pub fn rehearse(step: impl FnOnce() -> u8) -> io::Result<Ended> {
    // SAFETY: either the callers have no other threads, so that the copy may do anything that this process
    // may; or their step makes only system calls, which take no lock that another thread could hold. The copy
    // ends by _exit(2) below, so that it drops and flushes nothing that belongs to this process. A panic ends
    // it too, by the hook of `fault`.
    match unsafe { fork() }? {
        ForkResult::Child => {
            // A copy that is killed by a signal must leave no core file.
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

/// Whether this process survives `step`. It is tried only if a filter is in force.
#[must_use]
pub fn survives(step: impl FnOnce()) -> bool {
    if !is_filtered() {
        return true;
    }
    let ended = rehearse(|| {
        step();
        0
    });
    // If it can't be tried, assume that there is no such filter.
    !matches!(ended, Ok(Ended::Killed(_)))
}

/// Whether a system call filter is in force; assumed if proc(5) does not tell.
fn is_filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    field.is_none_or(|mode| mode.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Tests run in threads. The steps here take no lock.

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
