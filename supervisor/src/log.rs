//! The log: the original's lines on standard error, or the journal.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use common::log::{Escaped, Record, Severity};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that may wait for a reader of standard error. What comes when they are all waiting is
/// dropped: a full pipe must not stop the service.
const MAX_WAITING_LINES: usize = 4096;

/// Begins logging. What is returned writes the last lines when it is dropped.
pub(crate) fn start(verbose: bool) -> WorkerGuard {
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(MAX_WAITING_LINES).finish(io::stderr());
    let level = if verbose { Level::DEBUG } else { Level::INFO };
    let ours = tracing_subscriber::filter::filter_fn(move |metadata| {
        *metadata.level() <= level && metadata.target().starts_with("websockify")
    });
    let journal = if stderr_is_journal() { tracing_journald::layer().ok() } else { None };
    match journal {
        Some(journal) => {
            let journal = journal.with_field_prefix(Some("WEBSOCKIFY".into()));
            let journal = journal.with_syslog_identifier("websockify".into());
            tracing_subscriber::registry().with(journal.with_filter(ours)).init();
        }
        None => tracing_subscriber::registry().with(Plain { writer }.with_filter(ours)).init(),
    }
    guard
}

/// Standard error leads to the journal (systemd.exec(5), `$JOURNAL_STREAM`).
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Some((device, inode)) = stream.split_once(':') else { return false };
    rustix::fs::fstat(io::stderr().as_fd()).is_ok_and(|stat| {
        device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino) && !io::stderr().is_terminal()
    })
}

/// Logs a record of another role, which may be taken over: its text is escaped.
pub(crate) fn role_record(role: &'static str, record: &Record) {
    if record.dropped > 0 {
        tracing::warn!(target: "websockify::log", role, "{} log lines of the {role} were dropped", record.dropped);
    }
    let text = Escaped(&record.text);
    let client = record.client.as_deref().map(|client| Escaped(client).to_string());
    let client = client.as_deref();
    match record.severity {
        Severity::Error => tracing::error!(target: "websockify::role", role, client, "{text}"),
        Severity::Warning => tracing::warn!(target: "websockify::role", role, client, "{text}"),
        Severity::Info => tracing::info!(target: "websockify::role", role, client, "{text}"),
        Severity::Debug => tracing::debug!(target: "websockify::role", role, client, "{text}"),
    }
}

/// The original's format: the bare text, or `CLIENT - - [TIME] CLIENT: text` for what concerns a
/// client, with the local time.
struct Plain {
    writer: NonBlocking,
}

impl<S: Subscriber> Layer<S> for Plain {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let text = fields.message;
        let line = match fields.client {
            Some(client) => {
                let now = chrono::Local::now().format("%d/%b/%Y %H:%M:%S");
                format!("{client} - - [{now}] {client}: {text}\n")
            }
            None => format!("{text}\n"),
        };
        // The writer never fails; it counts what it drops.
        let _ = self.writer.clone().write_all(line.as_bytes());
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
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "client" => self.client = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
