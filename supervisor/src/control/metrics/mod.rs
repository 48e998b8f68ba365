//! Metrics of the service.

mod process;
mod text;

use std::time::UNIX_EPOCH;

use common::control::Session;
use common::ipc::offence::Offence;
use common::ipc::stats::{Handshake, Stats};

use super::progress;
use crate::os::clock::now;
use crate::os::log;
use crate::path::intake::Intake;
use crate::state::sources::Reason;
use text::Text;

/// Commit of the sources, if the build sets it. It is optional so that equal sources give equal builds.
const REVISION: Option<&str> = option_env!("WEBSOCKIFY_REVISION");

/// All metrics in the OpenMetrics text format.
pub(crate) async fn text(intake: &Intake) -> String {
    let sessions = progress::sessions(intake).await;
    let stats = progress::stats(intake).await;
    let name = intake.generations.current().map(|one| one.config.name.clone()).unwrap_or_default();
    let mut text = Text::new(&name);
    text.info("websockify_build", "Version of the supervisor.", &build(REVISION));
    write_sessions(&mut text, intake, &sessions);
    write_handshakes(&mut text, intake, &stats);
    write_sources(&mut text, intake);
    write_roles(&mut text, intake);
    write_log(&mut text);
    write_configuration(&mut text, intake);
    process::write(&mut text, intake);
    text.end()
}

/// Labels of the build.
fn build(revision: Option<&str>) -> Vec<(&str, &str)> {
    let revision = revision.filter(|revision| !revision.is_empty()).map(|revision| ("revision", revision));
    [("version", env!("CARGO_PKG_VERSION"))].into_iter().chain(revision).collect()
}

/// Writes the metrics of sessions. `sessions` are those that are open.
fn write_sessions(text: &mut Text, intake: &Intake, sessions: &[Session]) {
    let connections = intake.state.connections.borrow();
    let (totals, ended) = (connections.totals(), connections.ended_sessions());
    text.gauge("websockify_sessions_active", "Sessions that are open.", totals.sessions);
    text.counter("websockify_sessions", "Sessions that have ended, by who ended them.");
    for (closed_by, count) in &ended.closed_by {
        text.total(&[("closed_by", closed_by)], *count);
    }
    let sum = |ended: u64, open: fn(&Session) -> Option<u64>| {
        // Saturating, as gateways are not trusted to report plausible numbers.
        sessions.iter().filter_map(open).fold(ended, u64::saturating_add)
    };
    text.counter("websockify_relayed_bytes", "Payload bytes.");
    text.total(&[("direction", "to_target")], sum(ended.to_target, |session| session.bytes_in));
    text.total(&[("direction", "to_client")], sum(ended.to_client, |session| session.bytes_out));
    text.counter("websockify_relayed_frames", "Data frames; each fragment of a message counts as one.");
    text.total(&[("direction", "to_target")], sum(ended.frames.to_target, |session| session.frames_in));
    text.total(&[("direction", "to_client")], sum(ended.frames.to_client, |session| session.frames_out));
    let help = "Durations of sessions that have ended.";
    text.histogram("websockify_session_duration_seconds", help, ended.buckets(), ended.seconds);
}

/// Metrics of connections without a session.
fn write_handshakes(text: &mut Text, intake: &Intake, stats: &Stats) {
    text.counter("websockify_handshakes", "Requests for a WebSocket, by outcome.");
    for (result, count) in &stats.handshakes {
        text.total(&[("result", result.as_str())], *count);
    }
    let denied = |result| stats.handshakes.get(&result).copied().unwrap_or_default();
    text.counter("websockify_auth_denied", "Requests for a WebSocket that were denied, by stage.");
    text.total(&[("stage", "auth")], denied(Handshake::AuthDenied));
    text.total(&[("stage", "token")], denied(Handshake::TokenDenied));
    text.counter("websockify_http_requests", "Requests, by the status of the answer.");
    for (code, count) in &stats.responses {
        text.total(&[("code", &code.to_string())], *count);
    }
    let connects = intake.state.counters.connects.borrow();
    let help = "Times to resolve and connect to targets, of successful attempts.";
    text.histogram("websockify_target_connect_seconds", help, connects.buckets(), connects.seconds());
    let help = "Durations of successful TLS handshakes with clients.";
    text.histogram("websockify_tls_handshake_seconds", help, stats.tls.buckets(), stats.tls.seconds());
    text.counter("websockify_tls_handshake_failures", "TLS handshakes with clients that have failed.");
    text.total(&[], stats.tls_failures);
}

/// Metrics of sources of connections.
fn write_sources(text: &mut Text, intake: &Intake) {
    let connections = intake.state.connections.borrow();
    let sources = connections.sources();
    text.counter(
        "websockify_turned_away",
        "Connections that were closed at once, by the limit that they exceed.",
    );
    for reason in Reason::ALL {
        let count = sources.counts().turned_away.get(&reason).copied();
        text.total(&[("reason", reason.as_str())], count.unwrap_or_default());
    }
    text.counter(
        "websockify_penalties",
        "Penalties of sources of connections, by what their clients have done.",
    );
    for offence in Offence::ALL {
        let count = sources.counts().offences.get(&offence).copied();
        text.total(&[("offence", offence.as_str())], count.unwrap_or_default());
    }
    text.gauge("websockify_sources", "Sources of connections that are remembered.", sources.len());
    let banned = sources.punished(now()).iter().filter(|one| one.is_banned).count();
    text.gauge(
        "websockify_sources_banned",
        "Sources whose new connections are closed for their penalties.",
        banned,
    );
}

fn write_roles(text: &mut Text, intake: &Intake) {
    let gateways = |retired: bool| {
        let generations = intake.generations.all();
        let some = generations.iter().filter(|one| one.is_retired() == retired);
        some.map(|one| one.pool.all().len()).sum::<usize>()
    };
    text.gauges("websockify_workers", "Gateways, by whether they accept new connections.");
    text.value(&[("state", "ready")], gateways(false));
    text.value(&[("state", "draining")], gateways(true));
    text.counter("websockify_worker_restarts", "Gateways that were started to replace dead ones.");
    text.total(&[], intake.state.counters.restarts.get());
    text.counter("websockify_worker_violations", "Roles that were killed because they broke protocol.");
    text.total(&[], intake.state.counters.violations.get());
}

fn write_log(text: &mut Text) {
    text.counter(
        "websockify_log_dropped",
        "Log entries that were dropped because a destination was too slow, by destination.",
    );
    for (log, count) in log::dropped() {
        text.total(&[("log", log)], count);
    }
    let help = "Log lines that were dropped because a role exceeded its budget, by role.";
    text.counter("websockify_role_log_dropped", help);
    for (role, count) in log::role_line::dropped() {
        text.total(&[("role", role.as_str())], count);
    }
}

fn write_configuration(text: &mut Text, intake: &Intake) {
    let help = "Whether the last reload succeeded.";
    let is_well = intake.state.reload_requests.last_failure().is_none();
    text.gauge("websockify_config_last_reload_successful", help, u8::from(is_well));
    if let Some(when) = intake.state.reload_requests.last_success() {
        let help = "Time of the last successful reload, in seconds since 1970.";
        text.gauge("websockify_config_reload_success_timestamp_seconds", help, when);
    }
    let expires = intake.generations.current().and_then(|generation| generation.expires());
    if let Some(Ok(expires)) = expires.map(|expires| expires.duration_since(UNIX_EPOCH)) {
        let help = "Expiry of the current certificate, in seconds since 1970.";
        text.gauge("websockify_tls_certificate_not_after_timestamp_seconds", help, expires.as_secs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_a_label_if_it_is_known() {
        let version = ("version", env!("CARGO_PKG_VERSION"));
        assert_eq!(build(Some("abc123")), [version, ("revision", "abc123")]);
        assert_eq!(build(Some("")), [version]);
        assert_eq!(build(None), [version]);
    }
}
