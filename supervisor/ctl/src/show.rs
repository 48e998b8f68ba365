//! Formats instances and sessions for humans or as JSON.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use chrono::{DateTime, Utc};
use common::control::{Penalty, Revoked, Session, Status};
use common::log::Escaped;
use serde_json::json;

use crate::instances::{CtlError, KnownInstance};
use crate::output::safe_json;

/// Width to assume if the terminal does not report one.
const DEFAULT_WIDTH: usize = 100;

/// Escape sequences that begin and end highlighted text.
const BOLD: (&str, &str) = ("\u{1b}[1m", "\u{1b}[0m");

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
    Ok(table(&INSTANCE, all.iter().map(instance).collect()))
}

/// The table of instances of several machines.
pub(crate) fn lists(all: &[(String, KnownInstance)]) -> String {
    table(&with_host(&INSTANCE), all.iter().map(|(host, one)| of_host(host, instance(one))).collect())
}

const INSTANCE: [&str; 6] = ["NAME", "STATE", "SESSIONS", "TOTAL", "LISTEN", "TARGET"];

fn instance(one: &KnownInstance) -> Vec<String> {
    let mut row = vec![one.name.clone()];
    match &one.status {
        Some(status) => row.extend([
            if status.draining { "draining".into() } else { "running".into() },
            status.sessions.to_string(),
            status.sessions_total.to_string(),
            status.listen.join(" "),
            status.target.clone(),
        ]),
        None => row.push("not running".into()),
    }
    row
}

/// The heads of columns, with that of the machine.
fn with_host<'a>(head: &[&'a str]) -> Vec<&'a str> {
    [&["HOST"], head].concat()
}

/// A row, with the machine.
fn of_host(host: &str, row: Vec<String>) -> Vec<String> {
    [vec![host.to_owned()], row].concat()
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
        None => lines(&[("name", one.name.clone()), ("state", "not running".into())]),
    });
    Ok(details.collect::<Vec<_>>().join("\n"))
}

/// A running instance in detail.
fn detail(status: &Status) -> String {
    let state = if status.draining { "draining" } else { "running" };
    let since = duration(status.uptime_seconds);
    let mut shown = vec![
        ("name", status.name.clone()),
        ("state", format!("{state} for {since}, version {}, pid {}", status.version, status.pid)),
        ("listen", status.listen.join(", ")),
        ("target", status.target.clone()),
        (
            "sessions",
            format!(
                "{} now, {} total, {} relayed by ended sessions",
                status.sessions,
                status.sessions_total,
                bytes(status.bytes_relayed),
            ),
        ),
        ("sandbox", status.sandbox.clone()),
    ];
    if let Some(expires) = status.certificate_expires {
        shown.push(("certificate", until(expires)));
    }
    if let Some(elsewhere) = &status.listens_elsewhere {
        shown.push(("mismatch", format!("systemd listens on {elsewhere}; run websockifyctl apply")));
    }
    if status.violations > 0 {
        shown.push(("violations", format!("{} roles killed for breaking protocol", status.violations)));
    }
    for one in &status.generations {
        let gateways: Vec<_> = one.gateways.iter().map(i32::to_string).collect();
        let gateways = gateways.join(" ");
        shown.push((
            "generation",
            format!("{}, {} connections, gateways {gateways}", one.number, one.connections),
        ));
    }
    if let Some(failure) = &status.reload_failure {
        shown.push(("reload", format!("failed: {failure}")));
    }
    lines(&shown)
}

/// Formats values, each after its name.
fn lines(shown: &[(&str, String)]) -> String {
    let mut out = String::new();
    for (name, value) in shown {
        // Writing to a string can't fail.
        let _ = writeln!(out, "{name:>12}: {}", Escaped(value));
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
    Ok(table(&SESSION, sessions.iter().map(session).collect()))
}

/// The table of sessions of several machines.
pub(crate) fn sessions_of_hosts(all: &[(String, Session)]) -> String {
    table(&with_host(&SESSION), all.iter().map(|(host, one)| of_host(host, session(one))).collect())
}

const SESSION: [&str; 8] = ["SESSION", "CLIENT", "USER", "TIME", "IN", "OUT", "GEN", "TARGET"];

fn session(one: &Session) -> Vec<String> {
    let or_unknown = |count: Option<u64>| count.map_or_else(|| "?".into(), bytes);
    vec![
        one.id.to_string(),
        one.client.clone(),
        one.user.clone().unwrap_or_else(|| "-".into()),
        duration(one.seconds),
        or_unknown(one.bytes_in),
        or_unknown(one.bytes_out),
        one.generation.to_string(),
        one.target.clone(),
    ]
}

/// The table of sources with penalties.
pub(crate) fn penalties(penalties: &[Penalty], json: bool) -> Result<String, CtlError> {
    if json {
        return pretty(&penalties);
    }
    let row = |one: &Penalty| {
        let banned = if one.banned { "yes" } else { "no" };
        vec![one.source.clone(), duration(one.seconds), banned.into(), one.turned_away.to_string()]
    };
    Ok(table(&["SOURCE", "PENALTY", "BANNED", "TURNED AWAY"], penalties.iter().map(row).collect()))
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

/// Formats a table with columns as wide as needed. On a terminal, lines are cut to its width.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let is_terminal = io::stdout().is_terminal();
    let width = if is_terminal { terminal_width() } else { usize::MAX };
    let mut lines = vec![head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.into_iter().map(|row| row.iter().map(|cell| Escaped(cell).to_string()).collect()));
    let mut widths = vec![0; head.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let text: String = cells.collect::<Vec<_>>().join("  ").trim_end().chars().take(width).collect();
        let (begin, end) = if is_terminal && index == 0 && colours() { BOLD } else { ("", "") };
        let _ = writeln!(out, "{begin}{text}{end}");
    }
    out
}

/// Whether colours are enabled (no-color.org).
fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn terminal_width() -> usize {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => DEFAULT_WIDTH,
    }
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

    #[test]
    fn tables_are_aligned_and_control_characters_are_escaped() {
        let rows = vec![vec!["a".into(), "\u{1b}[2J".into()], vec!["longer".into()]];
        assert_eq!(table(&["N", "X"], rows), "N       X\na       \\u{1b}[2J\nlonger\n");
    }
}
