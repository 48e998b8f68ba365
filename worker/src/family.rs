//! The processes of a program that this process has started: all its descendants, as it also adopts orphans
//! (prctl(2), `PR_SET_CHILD_SUBREAPER`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};
use tokio::time::sleep;

/// Interval at which the processes are polled.
const PAUSE: Duration = Duration::from_millis(10);

/// Time limit after SIGKILL. A process that the kernel does not release can't be helped.
const KILLED: Duration = Duration::from_secs(2);

/// Ends all processes: sends SIGTERM, and SIGKILL after `grace`.
pub(crate) async fn end(grace: Duration) {
    signal_all(Signal::SIGTERM);
    // A stopped process would not act on SIGTERM.
    signal_all(Signal::SIGCONT);
    let deadline = Instant::now() + grace;
    while !all_reaped() {
        if Instant::now() >= deadline {
            let left = kill_rest();
            if let Some(pid) = left.first() {
                let count = left.len();
                tracing::warn!("{count} processes of the wrapped program can't be ended, such as {pid}");
            }
            return;
        }
        sleep(PAUSE).await;
    }
}

/// Kills all processes and waits for their end. Returns those that can't be killed.
pub(crate) fn kill_rest() -> Vec<Pid> {
    let deadline = Instant::now() + KILLED;
    // Repeatedly, because processes may have started others meanwhile.
    while !all_reaped() {
        signal_all(Signal::SIGKILL);
        if Instant::now() >= deadline {
            return descendants(getpid(), &parents());
        }
        thread::sleep(PAUSE);
    }
    Vec::new()
}

/// Reaps children that have ended. Returns whether none is left.
fn all_reaped() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return false,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return true,
        }
    }
}

fn signal_all(signal: Signal) {
    for pid in descendants(getpid(), &parents()) {
        // The process may have ended, or belong to another user, as with sudo(8).
        let _ = kill(pid, signal);
    }
}

/// All visible processes with their parents.
fn parents() -> BTreeMap<Pid, Pid> {
    let Ok(directory) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let numbers = directory.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter_map(|pid: i32| Some((Pid::from_raw(pid), parent(pid)?))).collect()
}

/// The parent of a process (proc(5), stat). The name that precedes it may contain any character.
fn parent(pid: i32) -> Option<Pid> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

/// The descendants of `ancestor`, parents before children.
fn descendants(ancestor: Pid, parents: &BTreeMap<Pid, Pid>) -> Vec<Pid> {
    let mut found = Vec::new();
    let mut family = BTreeSet::from([ancestor]);
    let mut generation = vec![ancestor];
    while !generation.is_empty() {
        generation = parents
            .iter()
            .filter(|(pid, parent)| generation.contains(parent) && family.insert(**pid))
            .map(|(pid, _)| *pid)
            .collect();
        found.extend(&generation);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found_through_generations() {
        let pid = Pid::from_raw;
        let tree = [(2, 1), (3, 2), (4, 3), (5, 1), (6, 4), (7, 5)];
        let tree = tree.into_iter().map(|(child, parent)| (pid(child), pid(parent))).collect();
        assert_eq!(descendants(pid(2), &tree), [3, 4, 6].map(pid));
        assert_eq!(descendants(pid(6), &tree), []);
    }

    #[test]
    fn this_process_has_a_parent() {
        assert_eq!(parent(getpid().as_raw()), Some(nix::unistd::getppid()));
        assert_eq!(parent(-1), None);
    }
}
