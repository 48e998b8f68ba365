//! Log lines of the roles. A role has no log of its own: it sends lines to the supervisor, which
//! alone holds the standard error stream, the journal or the log file.

use std::fmt::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::ipc::log::{LogLine, LogLines, LogMessage, RoleEvent, Severity};
use crate::ipc::table::Message;
use crate::sys::seqpacket;

/// The crates whose events are logged: this one, the supervisor, the roles and their program.
const CRATES: [&str; 4] = ["common", "websockify", "worker", "websockify_worker"];

/// Longest text of a line in bytes; the rest is cut off.
const MAX_TEXT: usize = 2048;

/// Bytes of text and addresses above which lines don't wait for more. Beside them a message has room
/// for one more line and for what encoding adds.
const MAX_BATCH: usize = 4096;

/// How long a line may wait for others: less than the connector's word about a target, so that the
/// lines of a connection come in their order while there is little to do.
const MAX_DELAY: Duration = Duration::from_millis(2);

/// Log lines on their way to the supervisor, gathered so that one message carries all of a turn.
///
/// Nothing here waits for the supervisor: when it is behind, lines are dropped and counted.
#[derive(Debug)]
pub struct Outgoing {
    socket: OwnedFd,
    waiting: Mutex<(LogLines, usize)>,
    filled: Notify,
}

impl Outgoing {
    /// Sends over `socket`.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Arc<Self> {
        Arc::new(Self { socket, waiting: Mutex::default(), filled: Notify::new() })
    }

    /// Adds a mark of `--traffic`.
    pub fn mark(&self, mark: &str) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.0.marks.push_str(mark);
        if waiting.0.marks.len() > MAX_BATCH {
            self.send(&mut waiting);
        }
        self.filled.notify_one();
    }

    fn push(&self, line: LogLine) {
        // Whoever panicked with the lock held has left whole lines.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.1 += line.text.len() + line.client.as_ref().map_or(0, String::len);
        waiting.0.lines.push(line);
        if waiting.1 > MAX_BATCH {
            self.send(&mut waiting);
        }
        self.filled.notify_one();
    }

    /// Sends what waits.
    pub fn flush(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !(waiting.0.lines.is_empty() && waiting.0.marks.is_empty()) {
            self.send(&mut waiting);
        }
    }

    /// Sends a last line before this process ends by a fault, unless that is a fault of this log.
    pub fn last_words(&self, text: &str) {
        if let Ok(mut waiting) = self.waiting.try_lock() {
            let text = text.to_owned();
            waiting.0.lines.push(LogLine { severity: Severity::Error, client: None, text, event: None });
            self.send(&mut waiting);
        }
    }

    fn send(&self, waiting: &mut (LogLines, usize)) {
        let (lines, _) = std::mem::take(waiting);
        let lost = u32::try_from(lines.lines.len()).unwrap_or(u32::MAX).saturating_add(lines.dropped);
        let message = LogMessage::Lines(lines);
        if !message.encode().is_ok_and(|m| seqpacket::send(self.socket.as_fd(), m.bytes(), None).is_ok()) {
            waiting.0.dropped = lost;
        }
    }

    /// Sends what comes in, a moment after it came.
    pub async fn keep_flushing(self: Arc<Self>) {
        loop {
            self.filled.notified().await;
            tokio::time::sleep(MAX_DELAY).await;
            self.flush();
        }
    }
}

/// Whether an event comes from our own code, by its target: the path of the module that it stands in, if it names no
/// other. Events of libraries are for their authors.
#[must_use]
pub fn is_ours(target: &str) -> bool {
    target.split("::").next().is_some_and(|name| CRATES.contains(&name))
}

/// Makes log lines of this process's tracing events.
#[derive(Debug)]
pub struct RoleLog {
    outgoing: Arc<Outgoing>,
    verbose: bool,
}

impl RoleLog {
    /// Gives lines to `outgoing`, those for debugging only if `verbose`.
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
            client: fields.client,
            text: fields.message.0,
            event: fields.event,
        });
    }
}

/// The fields of an event that a log line keeps.
#[derive(Default)]
struct Fields {
    message: Bounded,
    client: Option<String>,
    event: Option<RoleEvent>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.event = RoleEvent::named(value);
        }
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            // Bounded text has no other error than being full.
            "message" => _ = write!(self.message, "{value:?}"),
            "client" => self.client = Some(format!("{value:?}")),
            _ => {}
        }
    }
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

/// Text from somebody else, made safe for a terminal and a log: control characters and those that
/// change the direction of writing are shown as escapes.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
            {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_client_reaches_the_terminal_raw() {
        let forged = "a\r\nroot: all is well\u{1b}[2J\u{202e}x ü";
        assert_eq!(Escaped(forged).to_string(), "a\\r\\nroot: all is well\\u{1b}[2J\\u{202e}x ü");
    }

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
