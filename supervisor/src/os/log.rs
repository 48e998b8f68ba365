//! The log: the original's lines on standard error, JSON on standard output, or the journal; and in addition a file and
//! a syslog server, if configured.

mod file;
mod journal;
mod json;
mod lines;
pub(crate) mod message_id;
mod queue;
pub(crate) mod role_line;
mod syslog;
mod traffic;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use common::config::{Config, LogFormat};
use common::fault;
use common::log::is_ours;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_local;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use journal::Journal;
use json::Json;
use lines::Lines;
use syslog::{Facility, Syslog};

/// Target of events for the journal only. Other lines tell the same to humans.
pub(crate) const JOURNAL_ONLY: &str = "websockify::opened";

/// Whether debug lines are enabled.
static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Whether the log stores the fields of an event beside its text, as the journal and JSON do.
static KEEPS_FIELDS: AtomicBool = AtomicBool::new(false);

/// Time limit for writing the last lines at the end.
const LAST: Duration = Duration::from_millis(500);

/// The destinations of log lines. Each has a queue of its own: a slow one loses only its own lines.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    journal: Option<Journal>,
    stderr: Option<Arc<Lines>>,
    /// Standard output, for JSON.
    stdout: Option<Arc<Lines>>,
    file: Option<(PathBuf, Arc<Lines>)>,
    syslog: Option<Arc<Syslog>>,
    /// Standard output, for the marks of `--traffic`.
    marks: Option<Arc<Lines>>,
}

/// The reason why the log can't be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The log file can't be opened.
    #[error(transparent)]
    File(#[from] file::LogFileError),
    /// The syslog server can't be found.
    #[error(transparent)]
    Syslog(#[from] syslog::SyslogError),
    /// Standard error can't be used, or no thread can be started.
    #[error("cannot log: {0}")]
    System(#[from] io::Error),
}

/// The log of this process.
static LOG: OnceLock<Log> = OnceLock::new();

/// Number of entries that each destination has dropped because it was too slow.
pub(crate) fn dropped() -> Vec<(&'static str, u64)> {
    let Some(Log { journal, stderr, stdout, file, syslog, .. }) = LOG.get() else { return Vec::new() };
    let journal = journal.as_ref().map(|journal| ("journal", journal.dropped()));
    let stderr = stderr.as_ref().map(|lines| ("stderr", lines.dropped()));
    let stdout = stdout.as_ref().map(|lines| ("stdout", lines.dropped()));
    let file = file.as_ref().map(|(_, lines)| ("file", lines.dropped()));
    let syslog = syslog.as_ref().map(|syslog| ("syslog", syslog.dropped()));
    [journal, stderr, stdout, file, syslog].into_iter().flatten().collect()
}

/// Writes the pending lines, up to a time limit.
pub(crate) fn flush() {
    if let Some(log) = LOG.get() {
        log.write_last();
    }
}

impl Log {
    /// Opens the log: the journal if standard error is connected to it, else standard error.
    ///
    /// `caller` is given for a service in the background: the standard error of the caller, which receives
    /// the log until [`Self::leave_stderr`].
    pub(crate) fn start(config: &Config, caller: Option<OwnedFd>) -> Result<Self, LogError> {
        let in_background = caller.is_some();
        let stderr = match caller {
            Some(stderr) => stderr,
            None => io::stderr().as_fd().try_clone_to_owned()?,
        };
        let facility = if in_background { Facility::Daemon } else { Facility::User };
        set_verbose(config.verbose);
        let ours = |metadata: &Metadata<'_>| {
            let level = if VERBOSE.load(Ordering::Relaxed) { Level::DEBUG } else { Level::INFO };
            *metadata.level() <= level && is_ours(metadata.target())
        };
        let for_humans = move |metadata: &Metadata<'_>| ours(metadata) && metadata.target() != JOURNAL_ONLY;
        let journal = if is_journal(&stderr) { Journal::start(&config.name)? } else { None };
        let is_json = config.log.format == LogFormat::Json;
        let dropped = if is_json { json::dropped } else { lines::dropped };
        // In the background there is no standard output.
        let stdout = || if in_background { None } else { Some(io::stdout().as_fd().try_clone_to_owned()) };
        let to_stdout = if is_json && journal.is_none() { stdout().transpose()? } else { None };
        let stderr = match (&journal, &to_stdout) {
            (None, None) => Some(Lines::to(stderr, dropped)?),
            _ => None,
        };
        let mut others = None;
        let file = config.log.file.as_ref().map(|path| -> Result<_, LogError> {
            let opened = file::open(path)?;
            others = opened.writers;
            Ok((path.to_path_buf(), Lines::to(opened.file, dropped)?))
        });
        let syslog =
            config.log.syslog.as_ref().map(|server| Syslog::new(server, config.log.legacy_syslog, facility));
        let for_marks = if config.log.traffic { stdout().transpose()? } else { None };
        let log = Self {
            journal,
            stderr,
            stdout: to_stdout.map(|stream| Lines::to(stream, dropped)).transpose()?,
            file: file.transpose()?,
            syslog: syslog.transpose()?,
            marks: for_marks.map(|stream| Lines::to(stream, lines::dropped)).transpose()?,
        };
        KEEPS_FIELDS.store(is_json || log.journal.is_some(), Ordering::Relaxed);
        let journal = log.journal.clone().map(|journal| journal.with_filter(filter_fn(ours)));
        let traffic = filter_fn(|metadata| metadata.target() == traffic::TARGET);
        let marks = log.marks.clone().map(|lines| traffic::Marks(lines).with_filter(traffic));
        let streams = || log.streams().cloned().collect();
        let plain =
            Plain { streams: if is_json { Vec::new() } else { streams() }, syslog: log.syslog.clone() };
        let plain = plain.with_filter(filter_fn(for_humans));
        let instance = config.name.clone();
        let json = is_json.then(|| Json { streams: streams(), instance }.with_filter(filter_fn(ours)));
        tracing_subscriber::registry().with(journal).with(plain).with(json).with(marks).init();
        let _ = LOG.set(log.clone());
        if let (Some(others), Some((path, _))) = (others, &log.file) {
            tracing::warn!(
                "{others} can replace the log file {path:?}: its directory should be writable only by root"
            );
        }
        fault::end_process(|line| {
            tracing::error!(message_id = message_id::SERVICE_FAILED, "websockify: {line}");
            flush();
        });
        Ok(log)
    }

    /// Starts tasks that send to the syslog server, and that reopen the log file at SIGUSR1.
    pub(crate) fn keep_writing(&self) -> io::Result<()> {
        if let Some(syslog) = &self.syslog {
            spawn_local(syslog.clone().keep_sending());
        }
        let mut reopen = signal(SignalKind::user_defined1())?;
        let log = self.clone();
        spawn_local(async move {
            while reopen.recv().await.is_some() {
                log.reopen();
            }
        });
        Ok(())
    }

    /// Reopens the log file, which may have been renamed.
    fn reopen(&self) {
        if let Some((path, lines)) = &self.file {
            lines.open(path.clone());
        }
    }

    /// Writes the pending lines to standard error, and stops using it.
    pub(crate) fn leave_stderr(&self) -> io::Result<()> {
        if let Some(lines) = &self.stderr {
            lines.redirect(File::options().write(true).open("/dev/null")?.into());
            lines.drain(Instant::now() + LAST);
        }
        Ok(())
    }

    /// Writes the pending lines at the end, up to a time limit.
    pub(crate) fn write_last(&self) {
        let deadline = Instant::now() + LAST;
        for lines in self.streams().chain(&self.marks) {
            lines.drain(deadline);
        }
        if let Some(journal) = &self.journal {
            journal.drain(deadline);
        }
        if let Some(syslog) = &self.syslog {
            syslog.send_last();
        }
    }

    fn streams(&self) -> impl Iterator<Item = &Arc<Lines>> {
        self.stderr.iter().chain(&self.stdout).chain(self.file.iter().map(|(_, lines)| lines))
    }
}

/// Enables or disables debug lines.
pub(crate) fn set_verbose(verbose: bool) {
    if VERBOSE.swap(verbose, Ordering::Relaxed) != verbose {
        // `tracing` caches for each call site whether it is enabled.
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Whether fields of events are stored, and not only their text.
pub(crate) fn keeps_fields() -> bool {
    KEEPS_FIELDS.load(Ordering::Relaxed)
}

/// Whether standard error is connected to the journal (systemd.exec(5), `$JOURNAL_STREAM`).
fn is_journal(stderr: &OwnedFd) -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Some((device, inode)) = stream.split_once(':') else { return false };
    rustix::fs::fstat(stderr)
        .is_ok_and(|stat| device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino))
}

/// Shows marks of a gateway. Only valid marks are shown, as the gateway may be compromised.
pub(crate) fn show_marks(marks: &str) {
    if !marks.is_empty() {
        traffic::show(marks);
    }
}

/// The original's format: the bare text, or `CLIENT - - [TIME] text` for lines about a client, in local time.
struct Plain {
    streams: Vec<Arc<Lines>>,
    syslog: Option<Arc<Syslog>>,
}

impl<S: Subscriber> Layer<S> for Plain {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let text = fields.message;
        let mut line = match fields.client {
            Some(client) => {
                let now = chrono::Local::now().format("%d/%b/%Y %H:%M:%S");
                format!("{client} - - [{now}] {text}")
            }
            None => text,
        };
        if let Some(syslog) = &self.syslog {
            syslog.push(*event.metadata().level(), &line);
        }
        line.push('\n');
        for lines in &self.streams {
            lines.push(&line);
        }
    }
}

/// The fields that the plain format shows.
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
            "websockify_client" => self.client = Some(format!("{value:?}")),
            _ => {}
        }
    }
}
