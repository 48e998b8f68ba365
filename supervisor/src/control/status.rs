//! The status line that `systemctl status` shows.

use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::sleep;

use crate::os::notify;
use crate::path::intake::Intake;

/// Minimum interval between changes of the status line.
const INTERVAL: Duration = Duration::from_secs(1);

/// Updates the status line after changes.
pub(crate) async fn keep_telling(intake: Rc<Intake>) {
    let mut changes = intake.state.changes();
    loop {
        notify::status(&line(&intake));
        sleep(INTERVAL).await;
        // The sender lives as long as the service.
        let _ = changes.changed().await;
    }
}

/// The status line.
fn line(intake: &Intake) -> String {
    let totals = intake.state.connections.borrow().totals();
    let mut line =
        format!("{} sessions, {} total, {} relayed", totals.sessions, totals.opened, amount(totals.bytes));
    let generation = intake.generations.current();
    if let Some(expires) = generation.as_ref().and_then(|generation| generation.expires()) {
        line += &format!("; TLS until {}", DateTime::<Utc>::from(expires).format("%Y-%m-%d"));
    }
    if let Some(sandbox) = generation.and_then(|generation| generation.scope.confinement.describe()) {
        line += &format!("; sandbox: {sandbox}");
    }
    let violations = intake.state.counters.violations.get();
    if violations > 0 {
        line += &format!("; {violations} roles killed for breaking protocol");
    }
    if intake.listens_elsewhere.borrow().is_some() {
        line += "; not listening as configured, see the log";
    }
    line
}

/// Formats a number of bytes for humans.
fn amount(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut amount = (bytes as f64, "bytes");
    for unit in UNITS {
        if amount.0 < 1024.0 {
            break;
        }
        amount = (amount.0 / 1024.0, unit);
    }
    match amount {
        (_, "bytes") => format!("{bytes} bytes"),
        (number, unit) => format!("{number:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::amount;

    #[test]
    fn amounts_are_short() {
        assert_eq!(amount(0), "0 bytes");
        assert_eq!(amount(1023), "1023 bytes");
        assert_eq!(amount(1536), "1.5 KiB");
        assert_eq!(amount(u64::MAX), "16384.0 PiB");
    }
}
