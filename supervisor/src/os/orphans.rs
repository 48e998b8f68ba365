//! Orphans: processes whose parent has ended, and which the kernel gives to the supervisor as its children.
//!
//! The supervisor is a subreaper (prctl(2), `PR_SET_CHILD_SUBREAPER`) and kills its orphans: processes that a
//! plugin, a wrapped program or a rehearsal has left behind. Process 1 of a container also gets orphans of other
//! programs, such as those of `docker exec`, and only reaps them: they would otherwise stay as zombies.

use std::collections::BTreeSet;
use std::fs;
use std::future::pending;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::process;

/// Time after which an unknown child counts as an orphan. Children of the supervisor are reaped earlier by their
/// owners, and a rehearsal in a copy of this process (`common::sys::rehearsal`) takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes this process a subreaper, unless it has children that it did not start, such as those of a script that ends in
/// `exec websockify`: the orphans of these must live on, and can't be told from those of roles.
pub(crate) fn adopt() {
    if !is_first() && children().is_some_and(|children| children.is_empty()) {
        // If this fails, orphans go to process 1 and live on.
        let _ = prctl::set_child_subreaper(true);
    }
}

/// Kills and reaps orphans for the life of the service.
pub(crate) async fn keep_ending() {
    // Without this signal orphans are not noticed, which does little harm.
    let Ok(mut child_ended) = signal(SignalKind::child()) else { return pending().await };
    if is_first() {
        return keep_reaping(child_ended).await;
    }
    while child_ended.recv().await.is_some() {
        let strangers = strangers();
        if !strangers.is_empty() {
            sleep(PATIENCE).await;
            strangers.intersection(&self::strangers()).for_each(|pid| end(*pid));
        }
    }
}

/// Kills the present orphans; for the end of the service.
pub(crate) fn end_all() {
    strangers().into_iter().for_each(end);
}

/// Kills a child. Its own children then become children of this process, and its SIGCHLD has them killed next.
fn end(pid: Pid) {
    let _ = kill(pid, Signal::SIGKILL);
    let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
}

/// Children that this process has not started; empty unless it is a subreaper.
fn strangers() -> BTreeSet<Pid> {
    if !prctl::get_child_subreaper().unwrap_or(false) {
        return BTreeSet::new();
    }
    let started = process::living();
    children().into_iter().flatten().filter(|child| !started.contains(&child.as_raw())).collect()
}

/// All children, including zombies (proc_pid_task_tid_children(5)); `None` where the kernel does not list them.
fn children() -> Option<BTreeSet<Pid>> {
    let mut all = BTreeSet::new();
    for thread in fs::read_dir("/proc/self/task").ok()? {
        // When a thread ends, its children pass to another one.
        if let Ok(path) = thread.map(|thread| thread.path().join("children")) {
            let listed = fs::read_to_string(path).ok()?;
            all.extend(listed.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw));
        }
    }
    Some(all)
}

fn is_first() -> bool {
    std::process::id() == 1
}

/// The duty of process 1.
async fn keep_reaping(mut child_ended: tokio::signal::unix::Signal) {
    while child_ended.recv().await.is_some() {
        let mut seen = None;
        while let Some(pid) = ended_child() {
            if seen == Some(pid) {
                // Fails if the process is gone already.
                let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
                seen = None;
            } else {
                seen = Some(pid);
                sleep(PATIENCE).await;
            }
        }
    }
}

/// Returns a child that has ended, without reaping it.
fn ended_child() -> Option<Pid> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::All, look) {
        Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => Some(pid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_seen_whichever_thread_has_started_them() {
        let start = || std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut started = [start(), std::thread::spawn(start).join().unwrap()];
        let seen = children().unwrap();
        for child in &mut started {
            assert!(seen.contains(&Pid::from_raw(child.id().try_into().unwrap())));
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
