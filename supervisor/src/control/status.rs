//! The line that `systemctl status` shows.

use chrono::{DateTime, Utc};

use crate::run::Service;

/// The service in one line.
pub(crate) fn line(service: &Service) -> String {
    let totals = service.connections.borrow().totals();
    let mut line =
        format!("{} sessions, {} total, {} relayed", totals.sessions, totals.opened, amount(totals.bytes));
    let generation = service.generations.current();
    if let Some(expires) = generation.as_ref().and_then(|generation| generation.identity.expires()) {
        line += &format!("; TLS until {}", DateTime::<Utc>::from(expires).format("%Y-%m-%d"));
    }
    if let Some(sandbox) = generation.and_then(|generation| generation.confinement.describe()) {
        line += &format!("; sandbox: {sandbox}");
    }
    let violations = service.violations.get();
    if violations > 0 {
        line += &format!("; {violations} gateways killed for breaking protocol");
    }
    if service.listens_elsewhere.borrow().is_some() {
        line += "; not listening as configured, see the log";
    }
    line
}

/// A number of bytes for humans.
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
