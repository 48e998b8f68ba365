//! The log: the original's lines on standard error, or the journal.

mod lines;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use common::log::{Escaped, Record, Records, Severity};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) use lines::Lines;

/// Begins logging, to the journal if standard error leads there. Gives the lines for standard error,
/// which somebody has to write.
pub(crate) fn start(verbose: bool) -> Arc<Lines> {
    let level = if verbose { Level::DEBUG } else { Level::INFO };
    let ours = tracing_subscriber::filter::filter_fn(move |metadata| {
        *metadata.level() <= level && metadata.target().starts_with("websockify")
    });
    let lines = Arc::new(Lines::default());
    let journal = if stderr_is_journal() { tracing_journald::layer().ok() } else { None };
    match journal {
        Some(journal) => {
            let journal = journal.with_field_prefix(Some("WEBSOCKIFY".into()));
            let journal = journal.with_syslog_identifier("websockify".into());
            tracing_subscriber::registry().with(journal.with_filter(ours)).init();
        }
        None => tracing_subscriber::registry().with(Plain(lines.clone()).with_filter(ours)).init(),
    }
    lines
}

/// Standard error leads to the journal (systemd.exec(5), `$JOURNAL_STREAM`).
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Some((device, inode)) = stream.split_once(':') else { return false };
    rustix::fs::fstat(io::stderr().as_fd())
        .is_ok_and(|stat| device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino))
}

/// Logs records of another role, which may be taken over: their text is escaped.
pub(crate) fn role_records(role: &'static str, records: &Records) {
    if records.dropped > 0 {
        let dropped = records.dropped;
        tracing::warn!(target: "websockify::log", role, "{dropped} log lines of the {role} were dropped");
    }
    for Record { severity, client, text } in &records.records {
        let text = Escaped(text);
        let client = client.as_deref().map(|client| tracing::field::display(Escaped(client)));
        match severity {
            Severity::Error => tracing::error!(target: "websockify::role", role, client, "{text}"),
            Severity::Warning => tracing::warn!(target: "websockify::role", role, client, "{text}"),
            Severity::Info => tracing::info!(target: "websockify::role", role, client, "{text}"),
            Severity::Debug => tracing::debug!(target: "websockify::role", role, client, "{text}"),
        }
    }
}

/// The original's format: the bare text, or `CLIENT - - [TIME] text` for what concerns a client, with
/// the local time.
struct Plain(Arc<Lines>);

impl<S: Subscriber> Layer<S> for Plain {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let text = fields.message;
        self.0.push(&match fields.client {
            Some(client) => {
                let now = chrono::Local::now().format("%d/%b/%Y %H:%M:%S");
                format!("{client} - - [{now}] {text}\n")
            }
            None => format!("{text}\n"),
        });
    }
}

/// The fields of an event that the plain format shows.
#[derive(Default)]
struct Fields {
    message: String,
    client: Option<String>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "client" => self.client = Some(format!("{value:?}")),
            _ => {}
        }
    }
}
