//! Lines for a syslog server in the formats of the original: RFC 5424 or the older one.
//!
//! A server that is absent or slow affects only its own messages: they wait in a queue, and are dropped and
//! counted when it is full.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::config::SyslogServer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::Level;

/// Maximum number of messages in the queue.
const MAX_WAITING: usize = 512;

/// Pause before a busy server is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Pause before an absent server is looked for again.
const RECONNECT: Duration = Duration::from_secs(1);

/// Time limit for sending the last messages at the end.
const LAST: Duration = Duration::from_millis(100);

/// Name of this program in messages.
const IDENT: &str = "websockify";

/// Marks text as UTF-8 (RFC 5424 section 6.4).
const BOM: &str = "\u{feff}";

/// Facilities of RFC 5424 section 6.2.1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Facility {
    /// Messages of a program that a user has started.
    User = 1,
    /// Messages of a daemon.
    Daemon = 3,
}

/// A queue of messages for the server.
#[derive(Debug)]
pub(crate) struct Syslog {
    server: Server,
    legacy: bool,
    facility: Facility,
    host: String,
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    socket: Option<Socket>,
    /// The server was absent when it was last tried.
    is_away: bool,
    messages: VecDeque<Vec<u8>>,
    /// Number of dropped messages that the server has not been told of yet.
    untold: u64,
    /// Number of messages that were dropped since the start.
    dropped: u64,
}

/// A server with a resolved address.
#[derive(Debug)]
enum Server {
    Udp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    /// Messages need a terminator.
    is_stream: bool,
}

/// Result of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    All,
    /// The server is busy.
    Some,
    /// There is no server.
    Nothing,
}

/// The syslog server can't be found.
#[derive(Debug, thiserror::Error)]
#[error("cannot find the syslog server {server}: {source}")]
pub(crate) struct SyslogError {
    server: String,
    source: io::Error,
}

impl Syslog {
    /// Sends to `server`, in the older format if `legacy`. A unix socket may be created later, as in the
    /// original.
    pub(super) fn new(
        server: &SyslogServer,
        legacy: bool,
        facility: Facility,
    ) -> Result<Arc<Self>, SyslogError> {
        let server =
            Server::find(server).map_err(|source| SyslogError { server: server.to_string(), source })?;
        let host = rustix::system::uname();
        let mut host: String =
            host.nodename().to_string_lossy().chars().filter(char::is_ascii_graphic).take(255).collect();
        if host.is_empty() {
            host.push('-');
        }
        let (waiting, filled) = (Mutex::default(), Notify::new());
        Ok(Arc::new(Self { server, legacy, facility, host, waiting, filled }))
    }

    /// Adds a line without its newline.
    pub(super) fn push(&self, level: Level, line: &str) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.messages.len() >= MAX_WAITING {
            waiting.untold += 1;
            waiting.dropped += 1;
            return;
        }
        self.tell_dropped(&mut waiting);
        waiting.messages.push_back(self.message(level, line));
        self.filled.notify_one();
    }

    /// Adds a message about dropped ones.
    fn tell_dropped(&self, waiting: &mut Waiting) {
        if waiting.untold > 0 {
            let told = format!("{} log lines were dropped", std::mem::take(&mut waiting.untold));
            waiting.messages.push_back(self.message(Level::WARN, &told));
        }
    }

    /// Number of messages that were dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).dropped
    }

    fn message(&self, level: Level, line: &str) -> Vec<u8> {
        let severity = match level {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        let priority = (self.facility as u8) << 3 | severity;
        let pid = std::process::id();
        let text = line.replace('\n', " ");
        let bom = if text.is_ascii() { "" } else { BOM };
        if self.legacy {
            return format!("<{priority}>{IDENT}[{pid}]: {bom}{text}").into_bytes();
        }
        let (time, host) = (chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ"), &self.host);
        format!("<{priority}>1 {time} {host} {IDENT} {pid} - - {bom}{text}").into_bytes()
    }

    /// Sends messages as they arrive.
    pub(super) async fn keep_sending(self: Arc<Self>) {
        loop {
            self.filled.notified().await;
            loop {
                let was_away = self.is_away();
                match self.send(Duration::ZERO) {
                    Sent::All => break,
                    Sent::Some => sleep(RETRY).await,
                    Sent::Nothing => {
                        if !was_away {
                            tracing::warn!(
                                "the syslog server {} can't be reached; messages are queued",
                                self.server.name(),
                            );
                        }
                        sleep(RECONNECT).await;
                    }
                }
            }
        }
    }

    /// Sends the pending messages at the end, if the server accepts them.
    pub(super) fn send_last(&self) {
        self.send(LAST);
    }

    fn is_away(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_away
    }

    fn send(&self, patience: Duration) -> Sent {
        let patience = Timespec::try_from(patience).unwrap_or_default();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = &mut *waiting;
        while let Some(message) = waiting.messages.front_mut() {
            let is_new = waiting.socket.is_none();
            let socket = match waiting.socket.take().map_or_else(|| self.server.connect(), Ok) {
                Ok(socket) => waiting.socket.insert(socket),
                Err(_) => {
                    waiting.is_away = true;
                    return Sent::Nothing;
                }
            };
            waiting.is_away = false;
            match socket.send(message) {
                Ok(true) => _ = waiting.messages.pop_front(),
                Ok(false) => {}
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => {
                    let mut ready = [PollFd::new(&socket.fd, PollFlags::OUT)];
                    if !matches!(poll(&mut ready, Some(&patience)), Ok(1)) {
                        return Sent::Some;
                    }
                }
                // A datagram that is too long for this server is dropped.
                Err(Errno::MSGSIZE) => _ = waiting.messages.pop_front(),
                // The server is gone, and another one may have taken its place. With UDP the error is about
                // an earlier message, and this one is sent again.
                Err(_) => {
                    waiting.socket = None;
                    if is_new {
                        waiting.is_away = true;
                        return Sent::Nothing;
                    }
                }
            }
        }
        Sent::All
    }
}

impl Socket {
    /// Sends a message, or part of it on a stream, and removes what was sent. Returns whether the message is
    /// complete.
    fn send(&self, message: &mut Vec<u8>) -> Result<bool, Errno> {
        if self.is_stream && message.last() != Some(&b'\n') {
            message.push(b'\n');
        }
        let sent = rustix::net::send(&self.fd, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        if sent >= message.len() || !self.is_stream {
            return Ok(true);
        }
        message.drain(..sent);
        Ok(false)
    }
}

impl Server {
    fn find(server: &SyslogServer) -> io::Result<Self> {
        match server {
            SyslogServer::Udp { host, port } => {
                let found = (host.as_str(), *port).to_socket_addrs()?.next();
                found.map(Self::Udp).ok_or_else(|| io::Error::other("the name has no address"))
            }
            SyslogServer::Unix(path) => Ok(Self::Unix(path.clone())),
        }
    }

    fn connect(&self) -> Result<Socket, Errno> {
        match self {
            Self::Udp(address) => {
                let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
                let fd = new_socket(family, SocketType::DGRAM)?;
                rustix::net::connect(&fd, address)?;
                Ok(Socket { fd, is_stream: false })
            }
            Self::Unix(path) => {
                connect_unix(path, SocketType::DGRAM).or_else(|_| connect_unix(path, SocketType::STREAM))
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Udp(address) => address.to_string(),
            Self::Unix(path) => path.display().to_string(),
        }
    }
}

fn connect_unix(path: &Path, kind: SocketType) -> Result<Socket, Errno> {
    let fd = new_socket(AddressFamily::UNIX, kind)?;
    rustix::net::connect(&fd, &SocketAddrUnix::new(path)?)?;
    Ok(Socket { fd, is_stream: kind == SocketType::STREAM })
}

fn new_socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd, Errno> {
    socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}
