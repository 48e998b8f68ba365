//! The kind of process number 1, which a container gives us: to wait for processes that nobody else waits
//! for, such as what `docker exec` leaves behind. They would stay as zombies.

use std::future::pending;
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// Our own processes are waited for at once by who started them; what is still there after so long is an
/// orphan.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits for orphans as long as the service runs, if it is process number 1.
pub(crate) async fn keep_reaping() {
    if std::process::id() != 1 {
        return pending().await;
    }
    // What can't be watched stays a zombie, which harms little.
    let Ok(mut child_ended) = signal(SignalKind::child()) else { return pending().await };
    while child_ended.recv().await.is_some() {
        let mut seen = None;
        while let Some(pid) = ended_child() {
            if seen == Some(pid) {
                // Gone already is as good.
                let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
                seen = None;
            } else {
                seen = Some(pid);
                sleep(PATIENCE).await;
            }
        }
    }
}

/// A child that has ended and that nobody has waited for yet; it stays so.
fn ended_child() -> Option<Pid> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::All, look) {
        Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => Some(pid),
        _ => None,
    }
}
