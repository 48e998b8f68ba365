//! What is counted, in the OpenMetrics text format (version 1.0).

use std::fmt::Write;

use common::control::Session;

use crate::service::Service;

/// All metrics. `sessions` are those that are open.
pub(super) fn text(service: &Service, sessions: &[Session]) -> String {
    let current = service.generations.current();
    let name = current.map(|one| one.config.name.clone()).unwrap_or_default();
    let connections = service.connections.borrow();
    let (totals, ended) = (connections.totals(), connections.ended_sessions());
    let mut out = Metrics { out: String::new(), instance: escaped(&name) };

    out.family("websockify_build", "info", "The version that runs.");
    out.sample("websockify_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    out.family("websockify_sessions_active", "gauge", "Sessions that are open.");
    out.sample("websockify_sessions_active", &[], totals.sessions);
    out.family("websockify_sessions", "counter", "Sessions that have ended, by who ended them.");
    for (closed_by, count) in &ended.closed_by {
        out.sample("websockify_sessions_total", &[("closed_by", closed_by)], *count);
    }
    out.family("websockify_relayed_bytes", "counter", "Bytes of payload.");
    let open_in: u64 = sessions.iter().filter_map(|session| session.bytes_in).sum();
    let open_out: u64 = sessions.iter().filter_map(|session| session.bytes_out).sum();
    let to_target = ended.to_target.saturating_add(open_in);
    out.sample("websockify_relayed_bytes_total", &[("direction", "to_target")], to_target);
    let to_client = ended.to_client.saturating_add(open_out);
    out.sample("websockify_relayed_bytes_total", &[("direction", "to_client")], to_client);
    out.family("websockify_session_duration_seconds", "histogram", "How long sessions took that have ended.");
    let mut sum = 0;
    for (bound, count) in ended.buckets() {
        sum += count;
        out.sample("websockify_session_duration_seconds_bucket", &[("le", &bound)], sum);
    }
    out.sample("websockify_session_duration_seconds_count", &[], sum);
    out.sample("websockify_session_duration_seconds_sum", &[], format!("{:.3}", ended.seconds));

    out.family("websockify_workers", "gauge", "Gateways, by whether they get new connections.");
    let gateways = |retired: bool| {
        let generations = service.generations.all();
        let some = generations.iter().filter(|one| one.is_retired() == retired);
        some.map(|one| one.pool.all().len()).sum::<usize>()
    };
    out.sample("websockify_workers", &[("state", "ready")], gateways(false));
    out.sample("websockify_workers", &[("state", "draining")], gateways(true));
    out.family("websockify_worker_restarts", "counter", "Gateways that were started in place of dead ones.");
    out.sample("websockify_worker_restarts_total", &[], service.restarts.get());
    out.family("websockify_worker_violations", "counter", "Gateways that were killed for breaking protocol.");
    out.sample("websockify_worker_violations_total", &[], service.violations.get());

    out.family("websockify_config_last_reload_successful", "gauge", "Whether the last reload has succeeded.");
    let reload_ok = u8::from(service.reloads.last_failure().is_none());
    out.sample("websockify_config_last_reload_successful", &[], reload_ok);
    if let Some(when) = service.reloads.last_success() {
        let family = "websockify_config_reload_success_timestamp_seconds";
        out.family(family, "gauge", "When a reload has succeeded last, seconds since 1970.");
        out.sample(family, &[], when);
    }
    out.out.push_str("# EOF\n");
    out.out
}

struct Metrics {
    out: String,
    /// The value of `instance_name`, escaped.
    instance: String,
}

impl Metrics {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string can't fail.
        let _ = write!(self.out, "# TYPE {name} {kind}\n# HELP {name} {help}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let _ = write!(self.out, "{name}{{instance_name=\"{}\"", self.instance);
        for (label, text) in labels {
            let _ = write!(self.out, ",{label}=\"{}\"", escaped(text));
        }
        let _ = writeln!(self.out, "}} {value}");
    }
}

/// As a label's value is written.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
