//! The duty of process 1, which the supervisor may be in a container: reaping processes whose parent has ended, such
//! as what `docker exec` leaves behind. They would stay as zombies.

use std::future::pending;
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// Time after which a child that has ended counts as an orphan: children of the supervisor are reaped at once by
/// their owners.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reaps orphans for the life of the service, if it is process 1.
pub(crate) async fn keep_reaping() {
    if std::process::id() != 1 {
        return pending().await;
    }
    // Zombies that can't be noticed do little harm.
    let Ok(mut child_ended) = signal(SignalKind::child()) else { return pending().await };
    while child_ended.recv().await.is_some() {
        let mut seen = None;
        while let Some(pid) = ended_child() {
            if seen == Some(pid) {
                // A failure means that it is gone already.
                let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
                seen = None;
            } else {
                seen = Some(pid);
                sleep(PATIENCE).await;
            }
        }
    }
}

/// A child that has ended and was not reaped; it stays so.
fn ended_child() -> Option<Pid> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::All, look) {
        Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => Some(pid),
        _ => None,
    }
}
