//! What the service manager is told (sd_notify(3)). Without one nothing is sent.

use std::rc::Rc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;

use crate::service::Service;

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

/// The configuration is read again. `Type=notify-reload` wants to know since when.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(target: "websockify::notify", "no time to tell: {error}"),
    }
}

/// The configuration was read again; `failure` says why it is not in force.
pub(crate) fn reloaded(failure: Option<&String>) {
    match failure {
        Some(failure) => {
            let status = format!("reload failed: {}", failure.replace('\n', "; "));
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
        let totals = service.connections.borrow().totals();
        let sandbox = service.generations.current().and_then(|generation| generation.confinement.describe());
        let sandbox = sandbox.unwrap_or_default();
        let mut status = format!(
            "{} sessions, {} total, {} bytes relayed; sandbox: {sandbox}",
            totals.sessions, totals.opened, totals.bytes
        );
        let violations = service.violations.get();
        if violations > 0 {
            status += &format!(", {violations} gateways killed for breaking protocol");
        }
        tell(&[NotifyState::Status(&status)]);
        sleep(STATUS_INTERVAL).await;
        // The sender lives as long as the service.
        let _ = changes.changed().await;
    }
}

/// Feeds the watchdog at twice the rate that it asks for, if it asks.
pub(crate) async fn keep_watchdog() {
    let Some(interval) = sd_notify::watchdog_enabled() else { return };
    loop {
        tell(&[NotifyState::Watchdog]);
        sleep(interval / 2).await;
    }
}
