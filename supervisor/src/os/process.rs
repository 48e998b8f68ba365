//! Child processes, held by a descriptor (pidfd_open(2)), because process ids are reused.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use common::sys::reactor::{After, Registered};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal, waitid,
};
use std::os::fd::{AsFd, BorrowedFd};
use tokio::io::Interest;
use tokio::signal::unix::{SignalKind, signal};

/// Maximum number of processes in Linux (PID_MAX_LIMIT).
const MAX_PROCESSES: u32 = 4 << 20;

thread_local! {
    /// Killed children whose handles were dropped before they were reaped.
    static LEFT: RefCell<Vec<(i32, OwnedFd)>> = const { RefCell::new(Vec::new()) };

    /// Process ids of all children that were not reaped.
    static LIVING: RefCell<BTreeSet<i32>> = const { RefCell::new(BTreeSet::new()) };
}

/// A child process. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Process {
    pidfd: Option<Registered>,
    /// Its process id.
    pub(crate) pid: i32,
}

impl Process {
    /// Starts `command`.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        // The process can't have been reaped yet, so that its id is still valid.
        Self::adopt(i32::try_from(child.id()).unwrap_or(0))
    }

    /// Takes over a child that has not been reaped yet.
    pub(crate) fn adopt(pid: i32) -> io::Result<Self> {
        let child = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
        let pidfd = pidfd_open(child, PidfdFlags::empty())?;
        LIVING.with(|living| living.borrow_mut().insert(pid));
        Ok(Self { pidfd: Some(Registered::new(pidfd, Interest::READABLE)?), pid })
    }

    /// Waits for its end.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let ended = poll_fn(|cx| match &self.pidfd {
            Some(pidfd) => pidfd.poll_read(cx, |fd| Ok((reap(fd)?, After::Ready))),
            None => std::task::Poll::Ready(Err(io::ErrorKind::NotFound.into())),
        })
        .await;
        self.pidfd = None;
        LIVING.with(|living| living.borrow_mut().remove(&self.pid));
        ended
    }

    /// Kills it and waits for its end.
    pub(crate) async fn kill(mut self) -> Option<ExitStatus> {
        self.send_kill();
        self.wait().await.ok()
    }

    /// Kills it without waiting for its end.
    pub(crate) fn send_kill(&self) {
        if let Some(pidfd) = &self.pidfd {
            // Fails if the process has ended.
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.send_kill();
        if let Some(pidfd) = self.pidfd.take() {
            // If this fails, the thread is ending, and no task is left that could reap the child.
            let _ = LEFT.try_with(|left| left.borrow_mut().push((self.pid, pidfd.into_inner())));
        }
    }
}

/// Reaps children whose handles were dropped, whenever a child ends.
pub(crate) async fn keep_reaping() {
    let Ok(mut ended) = signal(SignalKind::child()) else { return };
    while ended.recv().await.is_some() {
        LEFT.with(|left| {
            left.borrow_mut().retain(|(pid, pidfd)| {
                let lives = matches!(reap(pidfd.as_fd()), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
                if !lives {
                    LIVING.with(|living| living.borrow_mut().remove(pid));
                }
                lives
            });
        });
    }
}

/// Hides memory and descriptors of this process from others of the same user, and prevents core files
/// (PR_SET_DUMPABLE), as it knows passwords and keys. Programs that it executes are not affected.
pub(crate) fn hide() {
    // The kernel has no reason to refuse this.
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// Whether a process is a descendant of this one. True as well if that is unknown, as for a process that has
/// ended.
pub(crate) fn may_be_of_ours(pid: i32) -> bool {
    let ours = i32::try_from(std::process::id()).unwrap_or(0);
    let mut at = pid;
    // A line of descent is not longer than the number of processes.
    for _ in 0..MAX_PROCESSES {
        match parent(at) {
            Some(parent) if parent == ours => return true,
            Some(0 | 1) => return false,
            Some(parent) => at = parent,
            None => return true,
        }
    }
    true
}

/// The parent of a process according to proc_pid_stat(5); 0 for one outside of this PID namespace.
fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of a process may contain anything, including a closing parenthesis.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// Process ids of all children that have not been reaped.
pub(crate) fn living() -> BTreeSet<i32> {
    LIVING.with(|living| living.borrow().clone())
}

/// Reaps a child and returns its exit status. The error is `WouldBlock` while it runs.
fn reap(pidfd: BorrowedFd<'_>) -> io::Result<ExitStatus> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let status = waitid(WaitId::PidFd(pidfd), options)?.ok_or(io::ErrorKind::WouldBlock)?;
    Ok(ExitStatus::from_raw(raw(&status)))
}

/// Converts to the wait status of wait(2), which the standard library uses.
fn raw(status: &WaitIdStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code << 8,
        (None, signal) => signal.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_descendants_are_recognised_as_ours() {
        let mut command = Command::new("sh");
        let command = command.args(["-c", "sleep 30 & echo $!; wait"]);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut { output }, &mut line).unwrap();
        let grandchild = line.trim().parse().unwrap();
        let id = i32::try_from(child.id()).unwrap();
        assert!(may_be_of_ours(id) && may_be_of_ours(grandchild));
        for other in [1, i32::try_from(std::process::id()).unwrap()] {
            assert!(!may_be_of_ours(other), "{other}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(grandchild), nix::sys::signal::Signal::SIGKILL)
            .unwrap();
        assert!(may_be_of_ours(id), "who has ended can't be told");
    }
}
