//! What the service manager is told (sd_notify(3)). Without one nothing is sent.

use std::rc::Rc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, sleep};

use crate::role::START_DEADLINE;
use crate::service::Service;
use crate::status;

/// The status line changes at most this often.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(target: "websockify::notify", "cannot notify the service manager: {error}");
    }
}

/// Clients can be served.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The service can't go on. `systemctl status` shows the reason even between two attempts, when it shows no
/// lines of the log.
pub(crate) fn failed(reason: &dyn std::fmt::Display) {
    let reason = reason.to_string();
    tell(&[NotifyState::Status(reason.lines().next().unwrap_or_default())]);
}

/// Feeds the watchdog once, before something that takes time.
pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The configuration is read again. `Type=notify-reload` wants to know since when.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(target: "websockify::notify", "no time to tell: {error}"),
    }
}

/// A reload or an upgrade is over; `failure` says why it has changed nothing.
pub(crate) fn reloaded(what: &str, failure: Option<&String>) {
    match failure {
        Some(failure) => {
            let status = format!("{what} failed: {}", failure.replace('\n', "; "));
            tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        }
        None => ready(),
    }
}

/// The end has begun.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("ending sessions")]);
}

/// Keeps the status line true.
pub(crate) async fn keep_status(service: Rc<Service>) {
    let mut changes = service.changes();
    loop {
        tell(&[NotifyState::Status(&status::line(&service))]);
        sleep(STATUS_INTERVAL).await;
        // The sender lives as long as the service.
        let _ = changes.changed().await;
    }
}

/// Feeds the watchdog at twice the rate that it asks for, if it asks; but not while roles are missing for
/// longer than their start may take, because then a new start of everything is what may help.
pub(crate) async fn keep_watchdog(service: Rc<Service>) {
    let Some(interval) = sd_notify::watchdog_enabled() else { return };
    let mut unable_since: Option<Instant> = None;
    loop {
        let able = service.generations.current().is_some_and(|generation| generation.can_serve());
        unable_since = if able { None } else { unable_since.or_else(|| Some(Instant::now())) };
        if unable_since.is_none_or(|since| since.elapsed() < START_DEADLINE) {
            tell(&[NotifyState::Watchdog]);
        }
        sleep(interval / 2).await;
    }
}
