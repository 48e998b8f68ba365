//! The watchdog of the service manager.

use std::rc::Rc;

use tokio::time::{Instant, sleep};

use crate::os::notify;
use crate::path::intake::Intake;
use crate::roles::supervise::START_DEADLINE;

/// Notifies the watchdog at twice the required rate, but not while required roles are missing for longer than
/// their start may take. A restart by the service manager may help then.
pub(crate) async fn keep_feeding(intake: Rc<Intake>) {
    let Some(interval) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut unable_since: Option<Instant> = None;
    loop {
        unable_since = if intake.can_serve() { None } else { unable_since.or_else(|| Some(Instant::now())) };
        if unable_since.is_none_or(|since| since.elapsed() < START_DEADLINE) {
            notify::alive();
        }
        sleep(interval / 2).await;
    }
}
