//! Log lines of the roles. A role sends its lines to the supervisor, which alone holds standard error, the
//! journal or the log file.

pub mod budget;
mod escaped;

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::ipc::ConnectionId;
use crate::ipc::log::{LogLine, LogLines, LogMessage, RoleEvent, Severity};
use crate::ipc::table::Message;
use crate::sys::seqpacket;
use budget::{Budget, cost};
pub use escaped::Escaped;

/// Crates whose events are logged: this one, the supervisor, the roles and their program.
const CRATES: [&str; 4] = ["common", "websockify", "worker", "websockify_worker"];

/// Maximum length of a line in bytes. The rest is cut off.
const MAX_TEXT: usize = 2048;

/// Size of the pending text, in bytes, from which lines are sent at once. A message has room for one more
/// line and for the overhead of the encoding.
const MAX_BATCH: usize = 4096;

/// Time for which lines are batched. It is shorter than the delay of the connector's reports, so that under
/// low load the lines of a connection keep their order.
const MAX_DELAY: Duration = Duration::from_millis(2);

/// Pending log lines for the supervisor, batched so that one message contains all lines of a turn.
///
/// Logging never blocks: lines are dropped and counted if the supervisor is slow, or if the role exceeds its
/// budget.
#[derive(Debug)]
pub struct Outgoing {
    socket: OwnedFd,
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug)]
struct Waiting {
    lines: LogLines,
    /// Size of their text in bytes.
    bytes: usize,
    budget: Budget,
}

impl Outgoing {
    /// Sends lines over `socket`.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Arc<Self> {
        let waiting =
            Waiting { lines: LogLines::default(), bytes: 0, budget: Budget::frugal(Instant::now()) };
        Arc::new(Self { socket, waiting: Mutex::new(waiting), filled: Notify::new() })
    }

    /// Adds a connection, which increases the budget.
    pub fn add_connection(&self) {
        self.lock().budget.add_connection();
    }

    /// Adds a mark of `--traffic`.
    pub fn mark(&self, mark: &str) {
        let mut waiting = self.lock();
        waiting.lines.marks.push_str(mark);
        if waiting.lines.marks.len() > MAX_BATCH {
            self.send(&mut waiting);
        }
        self.filled.notify_one();
    }

    fn push(&self, line: LogLine) {
        let mut waiting = self.lock();
        // Denials are always logged: each client causes only one.
        let is_denial = matches!(line.event, Some(RoleEvent::AuthDenied | RoleEvent::TokenDenied));
        if is_denial || waiting.budget.take(cost(&line.text), Instant::now()) {
            waiting.bytes += line.text.len();
            waiting.lines.lines.push(line);
        } else {
            waiting.lines.dropped = waiting.lines.dropped.saturating_add(1);
        }
        if waiting.bytes > MAX_BATCH {
            self.send(&mut waiting);
        }
        self.filled.notify_one();
    }

    /// Sends the pending lines.
    pub fn flush(&self) {
        let mut waiting = self.lock();
        if waiting.lines != LogLines::default() {
            self.send(&mut waiting);
        }
    }

    /// Sends a last line before this process ends by a fault, unless the fault is in this log.
    pub fn last_words(&self, text: &str) {
        if let Ok(mut waiting) = self.waiting.try_lock() {
            let (severity, text) = (Severity::Error, text.to_owned());
            waiting.lines.lines.push(LogLine {
                severity,
                connection: None,
                vouched: None,
                text,
                event: None,
            });
            self.send(&mut waiting);
        }
    }

    fn send(&self, waiting: &mut Waiting) {
        let lines = std::mem::take(&mut waiting.lines);
        waiting.bytes = 0;
        let lost = u32::try_from(lines.lines.len()).unwrap_or(u32::MAX).saturating_add(lines.dropped);
        let message = LogMessage::Lines(lines);
        if !message.encode().is_ok_and(|m| seqpacket::send(self.socket.as_fd(), m.bytes(), None).is_ok()) {
            waiting.lines.dropped = lost;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A panic with the lock held can't leave an incomplete line.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends lines as they arrive, after [`MAX_DELAY`].
    pub async fn keep_flushing(self: Arc<Self>) {
        loop {
            self.filled.notified().await;
            tokio::time::sleep(MAX_DELAY).await;
            self.flush();
        }
    }
}

/// Whether an event comes from our own code, judged by its target, which by default is the module path.
/// Events of libraries are not logged.
#[must_use]
pub fn is_ours(target: &str) -> bool {
    target.split("::").next().is_some_and(|name| CRATES.contains(&name))
}

/// Turns `tracing` events of this process into log lines.
#[derive(Debug)]
pub struct RoleLog {
    outgoing: Arc<Outgoing>,
    verbose: bool,
}

impl RoleLog {
    /// Adds lines to `outgoing`; debug lines only if `verbose`.
    #[must_use]
    pub fn new(outgoing: Arc<Outgoing>, verbose: bool) -> Self {
        Self { outgoing, verbose }
    }
}

impl<S: Subscriber> Layer<S> for RoleLog {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        let level = *metadata.level();
        level <= if self.verbose { Level::DEBUG } else { Level::INFO } && is_ours(metadata.target())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.outgoing.push(LogLine {
            severity: event.metadata().level().into(),
            connection: fields.connection,
            vouched: fields.vouched,
            text: fields.message.0,
            event: fields.event,
        });
    }
}

/// The fields of an event that go into a log line.
#[derive(Default)]
struct Fields {
    message: Bounded,
    connection: Option<ConnectionId>,
    vouched: Option<SocketAddr>,
    event: Option<RoleEvent>,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "connection" => self.connection = Some(ConnectionId(value)),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "event" => self.event = RoleEvent::named(value),
            "vouched" => self.vouched = value.parse().ok(),
            _ => {}
        }
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing fails only if the text is full.
            let _ = write!(self.message, "{value:?}");
        }
    }
}

/// Truncates the text of a line to [`MAX_TEXT`] bytes.
#[must_use]
pub fn bounded(text: &str) -> &str {
    // A text that the role itself has truncated ends with an ellipsis.
    let end = (0..=MAX_TEXT + '…'.len_utf8()).rfind(|end| text.is_char_boundary(*end) || *end >= text.len());
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

/// Text that stops growing at [`MAX_TEXT`].
#[derive(Default)]
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_TEXT.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.extend(text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= room).map(|(_, c)| c));
        self.0.push('…');
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_ours_are_told_from_those_of_libraries() {
        for ours in [module_path!(), "websockify", "websockify::opened", "worker::gateway::web"] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in ["", "hyper::proto", "common_sense", "workers::gateway"] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn text_is_cut_between_characters() {
        let mut bounded = Bounded::default();
        assert!(write!(bounded, "{}", "ü".repeat(MAX_TEXT)).is_err());
        assert_eq!(bounded.0.len(), MAX_TEXT + '…'.len_utf8());
        assert!(write!(bounded, "more").is_err());
    }
}
