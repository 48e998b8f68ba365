//! Reaping of orphans, the duty of process 1, which the supervisor may be in a container. Processes whose
//! parent has ended, such as those of `docker exec`, would otherwise stay as zombies.

use std::future::pending;
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// Time after which a child that has ended counts as an orphan. Children of the supervisor are reaped earlier
/// by their owners.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reaps orphans for the life of the service, if it is process 1.
pub(crate) async fn keep_reaping() {
    if std::process::id() != 1 {
        return pending().await;
    }
    // Without this signal zombies are not noticed, which does little harm.
    let Ok(mut child_ended) = signal(SignalKind::child()) else { return pending().await };
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
