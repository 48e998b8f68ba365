//! The output of a role: log lines on a channel, and standard error, which is a pipe and not a descriptor of
//! the supervisor.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use common::ipc::ConnectionId;
use common::ipc::GatewayId;
use common::ipc::channel::{Channel, ChannelError};
use common::ipc::log::{LogLine, LogLines, LogMessage, RoleEvent, Severity};
use common::log::budget::{Budget, Verdict, cost};
use common::log::{Escaped, bounded};
use common::role::RoleName;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tokio::net::unix::pipe::Receiver;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::peer::{Fault, Peer};
use crate::os::log;
use crate::os::log::role_line::{self, RoleLine};
use crate::state::connections::ClientLookup;
use crate::state::service::ServiceState;

/// Maximum length of a line on standard error in bytes. Longer lines are split.
const MAX_LINE: usize = 1024;

/// Maximum size of one read, in bytes.
const MAX_READ: usize = 4096;

/// Maximum number of lines that a role can have dropped itself, per second of its life: more than it could format.
const MAX_DROPPED: u64 = 1_000_000;

/// Pause in reading standard error after the role has exceeded its budget of log lines.
const PAUSE: Duration = Duration::from_millis(20);

/// What the log lines of a role may refer to.
#[derive(Debug)]
pub(crate) enum About {
    /// Nothing in particular.
    Itself,
    /// Connections of this gateway.
    Gateway(Rc<ServiceState>, GatewayId),
    /// Connections of this generation.
    Connector(Rc<ServiceState>, u32),
    /// The wrapped program of this name.
    Program(String),
}

/// The source of a role's log lines.
#[derive(Debug)]
pub(crate) struct RoleOutput {
    role: RoleName,
    label: String,
    about: About,
    budget: RefCell<Budget>,
    /// Time of the role's start.
    since: Instant,
    /// Number of lines that the role has reported as dropped.
    said_dropped: Cell<u64>,
    /// Number of dropped lines that has not been logged yet.
    dropped: Cell<u64>,
    /// The last line on standard error.
    last_error: RefCell<String>,
}

/// Creates a pipe for the standard error of a process: our end, and its end.
///
/// # Errors
///
/// Fails if descriptors run out.
pub(crate) fn errors_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    // Their end does not block either, so that no role waits until its output is read.
    Ok((ours, theirs))
}

impl RoleOutput {
    /// Creates the source of a role. Its lines begin with `label`.
    pub(crate) fn new(role: RoleName, label: &str, about: About) -> Rc<Self> {
        let label = label.to_owned();
        let since = Instant::now();
        Rc::new(Self {
            role,
            label,
            about,
            budget: RefCell::new(Budget::patient(since)),
            since,
            said_dropped: Cell::default(),
            dropped: Cell::default(),
            last_error: RefCell::default(),
        })
    }

    /// Adds a connection, which increases the budget of log lines.
    pub(crate) fn add_connection(&self) {
        self.budget.borrow_mut().add_connection();
    }

    /// Whether a line of this cost may be logged. It is the role's own line, or follows from its messages.
    ///
    /// # Errors
    ///
    /// The fault, if the role has exceeded its budget by far.
    pub(crate) fn may_log(&self, cost: usize) -> Result<bool, Fault> {
        let verdict = self.budget.borrow_mut().charge(cost, Instant::now());
        if verdict == Verdict::Logged {
            let dropped = self.dropped.take();
            if dropped > 0 {
                self.tell_dropped(dropped);
            }
            return Ok(true);
        }
        self.dropped.set(self.dropped.get() + 1);
        role_line::note_dropped(self.role, 1);
        match (verdict, &self.about) {
            // These are lines of the program, whose user is responsible for them, and not of the wrapper.
            (Verdict::Excessive, About::Program(_)) | (Verdict::Logged | Verdict::Dropped, _) => Ok(false),
            (Verdict::Excessive, _) => {
                self.tell_dropped(self.dropped.take());
                Err(Fault::Violation("it has exceeded its budget of log lines".into()))
            }
        }
    }

    fn tell_dropped(&self, count: u64) {
        let label = &self.label;
        tracing::warn!(websockify_role = self.role.as_str(), "{count} log lines of {label} were dropped");
    }

    /// Logs the lines of a role until it ends.
    pub(super) async fn hear_lines(self: Rc<Self>, channel: Rc<Channel>, peer: Weak<Peer>) {
        loop {
            let fault = match channel.receive().await {
                Ok(LogMessage::Lines(lines)) => match self.take(&lines) {
                    Ok(()) => continue,
                    Err(fault) => fault,
                },
                Err(error @ ChannelError::Violation(_)) => error.into(),
                Err(_) => return,
            };
            if let Some(peer) = peer.upgrade() {
                peer.kill_for_fault(fault);
            }
            return;
        }
    }

    /// Logs the remaining lines of a role that has ended.
    pub(super) fn take_last_lines(&self, channel: &Channel) {
        while let Ok(Some(LogMessage::Lines(lines))) = channel.try_receive() {
            if self.take(&lines).is_err() {
                return;
            }
        }
    }

    /// The last line on standard error, or an empty string.
    pub(crate) fn last_error(&self) -> String {
        self.last_error.borrow().clone()
    }

    /// Logs the standard error of a role until no process holds the pipe any more.
    pub(crate) async fn hear_errors(self: Rc<Self>, pipe: Rc<Receiver>, peer: Weak<Peer>) {
        let mut line = Vec::new();
        let mut buffer = [0; MAX_READ];
        loop {
            let count = match pipe.readable().await.and_then(|()| pipe.try_read(&mut buffer)) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => break,
            };
            let dropped = self.dropped.get();
            for byte in buffer.iter().take(count) {
                if *byte != b'\n' {
                    line.push(*byte);
                }
                if *byte == b'\n' || line.len() >= MAX_LINE {
                    self.take_error(&std::mem::take(&mut line), &peer);
                }
            }
            // A process that writes without end has to wait, or loses the rest.
            match self.dropped.get() > dropped {
                true => sleep(PAUSE).await,
                false => yield_now().await,
            }
        }
        self.take_error(&line, &peer);
        let dropped = self.dropped.take();
        if dropped > 0 {
            self.tell_dropped(dropped);
        }
    }

    fn take_error(&self, line: &[u8], peer: &Weak<Peer>) {
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        if text.is_empty() {
            return;
        }
        self.last_error.replace(Escaped(&text).to_string());
        match self.may_log(cost(&text)) {
            // Plugins may write anything there. Roles write why they end.
            Ok(true) if self.role == RoleName::Plugin => self.write(Severity::Info, None, None, &text),
            Ok(true) => self.write(Severity::Error, None, None, &text),
            Ok(false) => {}
            Err(fault) => {
                if let Some(peer) = peer.upgrade() {
                    peer.kill_for_fault(fault);
                }
            }
        }
    }

    fn take(&self, lines: &LogLines) -> Result<(), Fault> {
        log::show_marks(&lines.marks);
        self.said_dropped.set(self.said_dropped.get() + u64::from(lines.dropped));
        if self.said_dropped.get() > (self.since.elapsed().as_secs() + 2) * MAX_DROPPED {
            return Err(Fault::Violation(
                "it says that it has dropped more lines than it can have made".into(),
            ));
        }
        if (lines.dropped > 0 || lines.lines.is_empty() && lines.marks.is_empty())
            && self.may_log(cost(""))?
        {
            role_line::note_dropped(self.role, lines.dropped.into());
            self.tell_dropped(lines.dropped.into());
        }
        for line in &lines.lines {
            self.take_line(line)?;
        }
        Ok(())
    }

    fn take_line(&self, line: &LogLine) -> Result<(), Fault> {
        let LogLine { severity, connection, vouched, text, event } = line;
        if event.is_some_and(|event| event.teller() != self.role) {
            return Err(Fault::Violation("a log line of another role".into()));
        }
        let text = bounded(text);
        if !self.may_log(cost(text))? {
            return Ok(());
        }
        let client = connection.map(|id| self.client(id, *vouched)).transpose()?;
        self.write(*severity, client.as_deref(), *event, text);
        Ok(())
    }

    /// The client of a connection, for the log. The role says that it is `vouched`.
    fn client(&self, id: ConnectionId, vouched: Option<SocketAddr>) -> Result<String, Fault> {
        let named = match &self.about {
            About::Gateway(state, gateway) => {
                state.connections.borrow().client_of_gateway(id, vouched, *gateway)
            }
            About::Connector(state, generation) => {
                state.connections.borrow().client_of_generation(id, vouched, *generation)
            }
            About::Itself | About::Program(_) => ClientLookup::Foreign,
        };
        match named {
            ClientLookup::Client(client) => Ok(Escaped(&client.to_string()).to_string()),
            ClientLookup::Unknown => Ok(format!("connection {id}")),
            ClientLookup::Foreign => Err(Fault::foreign(id)),
        }
    }

    fn write(&self, severity: Severity, client: Option<&str>, event: Option<RoleEvent>, text: &str) {
        let label = match (&self.about, event) {
            (About::Program(name), Some(RoleEvent::Output)) => name,
            _ => &self.label,
        };
        role_line::write(&RoleLine { role: self.role, label, severity, client, event, text });
    }
}
