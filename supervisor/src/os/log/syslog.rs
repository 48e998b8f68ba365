//! Lines for a syslog server, in the formats of the original: RFC 5424, or what was common before.
//!
//! A server that is away or slow costs nothing but its own messages: they wait here, and when too many
//! wait they are dropped and counted.

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

/// Messages that may wait.
const MAX_WAITING: usize = 512;

/// How long to wait before a server that takes nothing is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// How long to wait before a server that is away is looked for again.
const RECONNECT: Duration = Duration::from_secs(1);

/// How long the last messages may take at the end.
const LAST: Duration = Duration::from_millis(100);

/// The name of this program in messages.
const IDENT: &str = "websockify";

/// Marks text as UTF-8 (RFC 5424 section 6.4).
const BOM: &str = "\u{feff}";

/// Facilities of RFC 5424 section 6.2.1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Facility {
    /// For what a user has started.
    User = 1,
    /// For what is in the background.
    Daemon = 3,
}

/// Messages that wait to be sent.
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
    /// The server was away when it was last tried.
    is_away: bool,
    messages: VecDeque<Vec<u8>>,
    /// So many were dropped, and the server was not told yet.
    untold: u64,
    /// So many were dropped since the start.
    dropped: u64,
}

/// A server whose name was resolved.
#[derive(Debug)]
enum Server {
    Udp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    /// Messages need an end mark.
    is_stream: bool,
}

/// How far sending came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    All,
    /// The server is busy.
    Some,
    /// There is no server.
    Nothing,
}

/// A syslog server that can't be found.
#[derive(Debug, thiserror::Error)]
#[error("cannot find the syslog server {server}: {source}")]
pub(crate) struct SyslogError {
    server: String,
    source: io::Error,
}

impl Syslog {
    /// Sends to `server`, in the format from before RFC 5424 if `legacy`. A unix socket may appear later, as in the original.
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

    /// Adds a line, its newline not included.
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

    /// Adds a message about those that were dropped.
    fn tell_dropped(&self, waiting: &mut Waiting) {
        if waiting.untold > 0 {
            let told = format!("{} log lines were dropped", std::mem::take(&mut waiting.untold));
            waiting.messages.push_back(self.message(Level::WARN, &told));
        }
    }

    /// How many messages were dropped since the start.
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

    /// Sends what comes in.
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
                                "the syslog server {} can't be reached; its messages wait",
                                self.server.name(),
                            );
                        }
                        sleep(RECONNECT).await;
                    }
                }
            }
        }
    }

    /// Sends what waits at the end, if the server takes it.
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
                // A datagram that is too long for this server will always be.
                Err(Errno::MSGSIZE) => _ = waiting.messages.pop_front(),
                // The server has gone; perhaps another one has taken its place. What UDP says here is
                // about an earlier message, and this one is sent once more.
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
    /// Sends a message, or of a stream its next piece, which is taken out. Says whether all is sent.
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
