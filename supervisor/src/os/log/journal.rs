//! Entries for the journal, with their fields.
//!
//! `tracing-journald` sends them over a socket that blocks while the journal does not read. Therefore it runs
//! in a thread of its own, which gets the events from a queue.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use tracing::field::{Field, Value, Visit};
use tracing::{Dispatch, Event, Metadata, Subscriber, dispatcher};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use super::queue::{Batch, Queue};

/// Socket of the journal (systemd-journald.service(8)).
const SOCKET: &str = "/run/systemd/journal/socket";

/// Interval at which an absent journal is looked for again.
const RETRY: Duration = Duration::from_secs(1);

/// The destination of entries for the journal.
#[derive(Clone, Debug)]
pub(super) struct Journal(Arc<Queue<Entry>>);

/// An event, with its formatted fields.
#[derive(Debug)]
struct Entry {
    metadata: &'static Metadata<'static>,
    fields: Vec<(Field, String)>,
}

impl Journal {
    /// Starts sending entries for the instance of this name. Returns `None` if there is no journal.
    pub(super) fn start(instance: &str) -> io::Result<Option<Self>> {
        if !is_there() {
            return Ok(None);
        }
        let (instance, mut journal) = (instance.to_owned(), None);
        let queue =
            Queue::start(move |_, batch| send(journal.get_or_insert_with(|| connect(&instance)), batch))?;
        Ok(Some(Self(queue)))
    }

    /// Number of entries that were dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped()
    }

    /// Waits until everything is sent, or until `deadline`.
    pub(super) fn drain(&self, deadline: Instant) {
        self.0.drain(deadline);
    }
}

/// Whether there is a journal. It may be hanging.
fn is_there() -> bool {
    let kind = (AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
    let connected = socket_with(kind.0, kind.1, kind.2, None)
        .and_then(|socket| rustix::net::connect(&socket, &SocketAddrUnix::new(SOCKET)?));
    connected.is_ok()
}

fn connect(instance: &str) -> Dispatch {
    let journal = loop {
        match tracing_journald::layer() {
            Ok(journal) => break journal,
            Err(_) => std::thread::sleep(RETRY),
        }
    };
    let journal = journal.with_field_prefix(None).with_syslog_identifier("websockify".into());
    let journal = journal.with_custom_fields([("WEBSOCKIFY_INSTANCE", instance)]);
    tracing_subscriber::registry().with(journal).into()
}

fn send(journal: &Dispatch, Batch { entries, dropped }: Batch<Entry>) {
    for Entry { metadata, fields } in entries {
        let shown: Vec<_> = metadata
            .fields()
            .iter()
            .map(|field| fields.iter().find(|(one, _)| *one == field).map(|(_, text)| text as &dyn Value))
            .collect();
        journal.event(&Event::new(metadata, &metadata.fields().value_set_all(&shown)));
    }
    if dropped > 0 {
        dispatcher::with_default(journal, || tracing::warn!("{dropped} log entries were dropped"));
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut formatted = FormattedFields::default();
        event.record(&mut formatted);
        self.0.push(Entry { metadata: event.metadata(), fields: formatted.fields }, formatted.bytes);
    }
}

/// Formatted fields of an event.
#[derive(Default)]
struct FormattedFields {
    fields: Vec<(Field, String)>,
    bytes: usize,
}

impl Visit for FormattedFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        self.bytes += text.len() + field.name().len();
        self.fields.push((field.clone(), text));
    }
}
