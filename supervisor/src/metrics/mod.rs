//! What is counted, for monitoring.

mod process;
mod text;

use std::time::UNIX_EPOCH;

use common::control::Session;

use crate::progress;
use crate::service::Service;
use text::Text;

/// Everything, in the OpenMetrics text format.
pub(crate) async fn text(service: &Service) -> String {
    let sessions = progress::sessions(service).await;
    let name = service.generations.current().map(|one| one.config.name.clone()).unwrap_or_default();
    let mut text = Text::new(&name);
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    text.info("websockify_build", "The version that runs.", &version);
    write_sessions(&mut text, service, &sessions);
    write_roles(&mut text, service);
    write_configuration(&mut text, service);
    process::write(&mut text, service);
    text.end()
}

/// `sessions` are those that are open.
fn write_sessions(text: &mut Text, service: &Service, sessions: &[Session]) {
    let connections = service.connections.borrow();
    let (totals, ended) = (connections.totals(), connections.ended_sessions());
    text.gauge("websockify_sessions_active", "Sessions that are open.", totals.sessions);
    text.counter("websockify_sessions", "Sessions that have ended, by who ended them.");
    for (closed_by, count) in &ended.closed_by {
        text.total(&[("closed_by", closed_by)], *count);
    }
    text.counter("websockify_relayed_bytes", "Bytes of payload.");
    let open_in: u64 = sessions.iter().filter_map(|session| session.bytes_in).sum();
    let open_out: u64 = sessions.iter().filter_map(|session| session.bytes_out).sum();
    text.total(&[("direction", "to_target")], ended.to_target.saturating_add(open_in));
    text.total(&[("direction", "to_client")], ended.to_client.saturating_add(open_out));
    let help = "How long sessions took that have ended.";
    text.histogram("websockify_session_duration_seconds", help, ended.buckets(), ended.seconds);
}

fn write_roles(text: &mut Text, service: &Service) {
    let gateways = |retired: bool| {
        let generations = service.generations.all();
        let some = generations.iter().filter(|one| one.is_retired() == retired);
        some.map(|one| one.pool.all().len()).sum::<usize>()
    };
    text.gauges("websockify_workers", "Gateways, by whether they get new connections.");
    text.value(&[("state", "ready")], gateways(false));
    text.value(&[("state", "draining")], gateways(true));
    text.counter("websockify_worker_restarts", "Gateways that were started in place of dead ones.");
    text.total(&[], service.restarts.get());
    text.counter("websockify_worker_violations", "Gateways that were killed for breaking protocol.");
    text.total(&[], service.violations.get());
}

fn write_configuration(text: &mut Text, service: &Service) {
    let help = "Whether the last reload has succeeded.";
    let is_well = service.reloads.last_failure().is_none();
    text.gauge("websockify_config_last_reload_successful", help, u8::from(is_well));
    if let Some(when) = service.reloads.last_success() {
        let help = "When a reload has succeeded last, seconds since 1970.";
        text.gauge("websockify_config_reload_success_timestamp_seconds", help, when);
    }
    let expires = service.generations.current().and_then(|generation| generation.identity.expires());
    if let Some(Ok(expires)) = expires.map(|expires| expires.duration_since(UNIX_EPOCH)) {
        let help = "When the certificate in force expires, seconds since 1970.";
        text.gauge("websockify_tls_certificate_not_after_timestamp_seconds", help, expires.as_secs());
    }
}
