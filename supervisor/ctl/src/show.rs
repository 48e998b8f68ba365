//! Formats instances and sessions for humans or as JSON.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use chrono::{DateTime, Utc};
use common::control::{Penalty, Revoked, Session, Status};
use common::log::Escaped;
use serde_json::json;

use crate::instances::{CtlError, KnownInstance};
use crate::output::safe_json;
use crate::terminal::{Cell, Color, Column, Terminal};

/// The table of instances.
pub(crate) fn list(all: &[KnownInstance], json: bool) -> Result<String, CtlError> {
    if json {
        let all: Vec<_> = all
            .iter()
            .map(|one| {
                let running = one.status.is_some();
                json!({"name": one.name, "file": one.file, "running": running, "status": one.status})
            })
            .collect();
        return pretty(&all);
    }
    Ok(Terminal::stdout().table(&INSTANCE, all.iter().map(instance).collect()))
}

/// The table of instances of several machines.
pub(crate) fn lists(all: &[(String, KnownInstance)]) -> String {
    let rows = all.iter().map(|(host, one)| of_host(host, instance(one)));
    Terminal::stdout().table(&with_host(&INSTANCE), rows.collect())
}

const INSTANCE: [Column; 6] = [
    Column::Text("NAME"),
    Column::Text("STATE"),
    Column::Number("SESSIONS"),
    Column::Number("TOTAL"),
    Column::Text("LISTEN"),
    Column::Text("TARGET"),
];

fn instance(one: &KnownInstance) -> Vec<Cell> {
    let mut row: Vec<Cell> = vec![(&one.name).into()];
    match &one.status {
        Some(status) => {
            let (state, color) = state(status);
            row.extend([
                Cell::colored(state, color),
                status.sessions.into(),
                status.sessions_total.into(),
                status.listen.join(" ").into(),
                (&status.target).into(),
            ]);
        }
        None => row.push(Cell::colored("not running", Color::Yellow)),
    }
    row
}

/// Whether a running instance accepts clients.
fn state(status: &Status) -> (&'static str, Color) {
    if status.draining { ("draining", Color::Yellow) } else { ("running", Color::Green) }
}

/// The columns, behind that of the machine.
fn with_host(columns: &[Column]) -> Vec<Column> {
    [&[Column::Text("HOST")], columns].concat()
}

/// A row, with the machine.
fn of_host(host: &str, row: Vec<Cell>) -> Vec<Cell> {
    [vec![host.into()], row].concat()
}

/// Instances in detail.
pub(crate) fn status(all: &[KnownInstance], json: bool) -> Result<String, CtlError> {
    if json {
        let all: Vec<_> = all
            .iter()
            .map(|one| {
                let mut shown = json!(one.status);
                if shown.is_null() {
                    shown = json!({"name": one.name});
                }
                shown["running"] = one.status.is_some().into();
                shown
            })
            .collect();
        return pretty(&all);
    }
    let details = all.iter().map(|one| match &one.status {
        Some(status) => detail(status),
        None => lines(&[
            ("name", one.name.clone(), Some(Color::Bold)),
            ("state", "not running".into(), Some(Color::Yellow)),
        ]),
    });
    Ok(details.collect::<Vec<_>>().join("\n"))
}

/// A running instance in detail.
fn detail(status: &Status) -> String {
    let (state, color) = state(status);
    let since = duration(status.uptime_seconds);
    let sessions = format!(
        "{} now, {} total, {} relayed by ended sessions",
        status.sessions,
        status.sessions_total,
        bytes(status.bytes_relayed),
    );
    let mut shown = vec![
        ("name", status.name.clone(), Some(Color::Bold)),
        (
            "state",
            format!("{state} for {since}, version {}, pid {}", status.version, status.pid),
            Some(color),
        ),
        ("listen", status.listen.join(", "), None),
        ("target", status.target.clone(), None),
        ("sessions", sessions, None),
        ("sandbox", status.sandbox.clone(), None),
    ];
    if let Some(expires) = status.certificate_expires {
        shown.push(("certificate", until(expires), None));
    }
    if let Some(elsewhere) = &status.listens_elsewhere {
        let text = format!("systemd listens on {elsewhere}; run websockifyctl apply");
        shown.push(("mismatch", text, Some(Color::Yellow)));
    }
    if status.violations > 0 {
        let text = format!("{} roles killed for breaking protocol", status.violations);
        shown.push(("violations", text, Some(Color::Red)));
    }
    for one in &status.generations {
        let gateways: Vec<_> = one.gateways.iter().map(i32::to_string).collect();
        let gateways = gateways.join(" ");
        let text = format!("{}, {} connections, gateways {gateways}", one.number, one.connections);
        shown.push(("generation", text, None));
    }
    if let Some(failure) = &status.reload_failure {
        shown.push(("reload", format!("failed: {failure}"), Some(Color::Red)));
    }
    lines(&shown)
}

/// Formats values, each after its name.
fn lines(shown: &[(&str, String, Option<Color>)]) -> String {
    let terminal = Terminal::stdout();
    let mut out = String::new();
    for (name, value, color) in shown {
        // Writing to a string can't fail.
        let _ = writeln!(out, "{name:>12}: {}", terminal.paint(&Escaped(value).to_string(), *color));
    }
    out
}

/// Formats a date, given in seconds since 1970, and its distance from today.
fn until(seconds: u64) -> String {
    let end = i64::try_from(seconds).ok().and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0));
    match end {
        Some(end) if end < Utc::now() => format!("has expired on {}", end.format("%Y-%m-%d")),
        Some(end) => format!("until {}, {} days", end.format("%Y-%m-%d"), (end - Utc::now()).num_days()),
        None => "without end".into(),
    }
}

/// The table of sessions.
pub(crate) fn sessions(sessions: &[Session], json: bool) -> Result<String, CtlError> {
    if json {
        return pretty(&sessions);
    }
    Ok(Terminal::stdout().table(&SESSION, sessions.iter().map(session).collect()))
}

/// The table of sessions of several machines.
pub(crate) fn sessions_of_hosts(all: &[(String, Session)]) -> String {
    let rows = all.iter().map(|(host, one)| of_host(host, session(one)));
    Terminal::stdout().table(&with_host(&SESSION), rows.collect())
}

const SESSION: [Column; 8] = [
    Column::Number("SESSION"),
    Column::Text("CLIENT"),
    Column::Text("USER"),
    Column::Number("TIME"),
    Column::Number("IN"),
    Column::Number("OUT"),
    Column::Number("GEN"),
    Column::Text("TARGET"),
];

fn session(one: &Session) -> Vec<Cell> {
    let or_unknown = |count: Option<u64>| count.map_or_else(|| "?".into(), bytes);
    vec![
        one.id.into(),
        (&one.client).into(),
        one.user.as_deref().unwrap_or("-").into(),
        duration(one.seconds).into(),
        or_unknown(one.bytes_in).into(),
        or_unknown(one.bytes_out).into(),
        one.generation.into(),
        (&one.target).into(),
    ]
}

/// The table of sources with penalties.
pub(crate) fn penalties(penalties: &[Penalty], json: bool) -> Result<String, CtlError> {
    if json {
        return pretty(&penalties);
    }
    const COLUMNS: [Column; 4] = [
        Column::Text("SOURCE"),
        Column::Number("PENALTY"),
        Column::Text("BANNED"),
        Column::Number("TURNED AWAY"),
    ];
    let row = |one: &Penalty| {
        let banned = if one.banned { Cell::colored("yes", Color::Red) } else { "no".into() };
        vec![(&one.source).into(), duration(one.seconds).into(), banned, one.turned_away.into()]
    };
    Ok(Terminal::stdout().table(&COLUMNS, penalties.iter().map(row).collect()))
}

/// The effect of a revocation.
pub(crate) fn revoked(revoked: Revoked, json: bool) -> Result<String, CtlError> {
    if json {
        return pretty(&revoked);
    }
    Ok(revocation(revoked))
}

/// The effect of a revocation as a line.
pub(crate) fn revocation(revoked: Revoked) -> String {
    let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (sessions, tokens) = (many(revoked.sessions, "session"), many(revoked.tokens, "token"));
    format!("closing {sessions}, refusing {tokens} from now on\n")
}

/// Clears the terminal.
pub(crate) fn clear() -> Result<(), CtlError> {
    let mut out = io::stdout();
    if out.is_terminal() {
        out.write_all(b"\x1b[H\x1b[2J").map_err(CtlError::Output)?;
    }
    Ok(())
}

pub(crate) fn pretty(value: &impl serde::Serialize) -> Result<String, CtlError> {
    Ok(safe_json(&serde_json::to_string_pretty(value)?) + "\n")
}

fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1536), bytes(u64::MAX)].join(" "),
            "0 B 1023 B 1.5 KiB 16384.0 PiB"
        );
        let times = [0, 59, 60, 3599, 3600, 90_061].map(duration);
        assert_eq!(times.join(" "), "0s 59s 1m00s 59m59s 1h00m 1d01h");
    }
}
