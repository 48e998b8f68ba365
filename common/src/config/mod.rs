//! The effective configuration of one instance, whether it came from the command line of the
//! original or from a TOML file. Every value is checked and ready to use.

pub mod auth;
pub mod check;
mod ciphers;
pub mod cli;
mod duration;
pub mod file;
pub mod http_url;
mod keys;
mod log;
pub mod own_plugin;
pub mod plugin;
pub mod print;
mod similar;
#[cfg(test)]
mod tests;
pub mod token;
mod wrap;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::addr::{ListenAddr, TargetAddr};
use auth::Auth;
pub use ciphers::{Ciphers, SuiteNumber};
pub use log::{Log, Syslog, SyslogServer};
use token::Tokens;
pub use wrap::{Wrap, WrapMode};

/// The certificate of a command line without `--cert`, in the current folder.
pub const DEFAULT_CERTIFICATE: &str = "self.pem";

/// Mode of unix listeners' sockets where none is given: the owner alone, as the original.
pub const DEFAULT_LISTEN_MODE: u32 = 0o600;

/// Interval of pings where TOML gives none: below the minute after which many middleboxes forget idle
/// connections.
pub const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(30);

/// Most gateway processes that may be asked for; more than processors never pay.
pub const MAX_WORKERS: u16 = 1024;

/// One instance: what it listens on, what it connects to, and on what terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The instance's name: the file's name without `.toml`, or `websockify` from the command line.
    pub name: String,
    /// Where to listen. Sockets passed by systemd win over this list.
    pub listen: Vec<ListenAddr>,
    /// The listening socket is standard input (inetd's `wait`, systemd's `StandardInput=socket`).
    pub inetd: bool,
    /// Mode of unix listeners' sockets, default 0600.
    pub listen_mode: u32,
    /// Use IPv6 where a name has both kinds of address: listen there, and try it first.
    pub prefer_ipv6: bool,
    /// What sessions are connected to.
    pub target: Target,
    /// Speak TLS to the target.
    pub target_tls: Option<TargetTls>,
    /// How many gateway processes there may be.
    pub workers: Workers,
    /// The user that the roles run as when started as root. Default: `websockify` if there is such a
    /// user, else `nobody`.
    pub user: Option<String>,
    /// What to do where the kernel can't confine the roles.
    pub sandbox: Sandbox,
    /// Static files; without them plain requests are refused.
    pub web: Option<Web>,
    /// What clients must prove to get a WebSocket.
    pub auth: Vec<Auth>,
    /// Clients must prove it for static files as well.
    pub web_auth: bool,
    /// TLS towards clients. Absent only if TOML has no `[tls]`.
    pub tls: Option<Tls>,
    /// What to do with text messages.
    pub text: TextMessages,
    /// Interval of pings. A client from which nothing came for two intervals is gone. Default on the
    /// command line: none, as the original; in TOML 30 s.
    pub heartbeat: Option<Duration>,
    /// Record each session to this path with a number behind it (`--record`).
    pub record: Option<PathBuf>,
    /// When the service ends by itself.
    pub lifetime: Lifetime,
    /// Deadlines of each step.
    pub timeouts: Timeouts,
    /// Bounds on what clients may use.
    pub limits: Limits,
    /// Where what is counted can be read over HTTP, default nowhere.
    pub metrics: Option<Metrics>,
    /// Where log lines go.
    pub log: Log,
    /// More log lines (`-v`).
    pub verbose: bool,
}

/// Where what is counted can be read, in the OpenMetrics text format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Never one of [`Config::listen`]. A unix socket has the mode of those there.
    pub listen: ListenAddr,
}

/// What sessions are connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every session goes to the same address.
    Static(TargetAddr),
    /// Each session goes where its client's token leads.
    Tokens(Tokens),
    /// The built-in echo behind the demo page.
    Demo,
    /// A program that we start.
    Wrapped(Wrap),
}

/// How the target's certificate is verified (`--ssl-target`).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TargetTls {
    /// PEM file of authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The name that the certificate must carry, default the target's host.
    pub server_name: Option<String>,
}

/// How many gateway processes there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One at first, more with load, up to the number of processors.
    Auto,
    /// This many, from the start.
    Fixed(u16),
}

/// What to do where the kernel can't confine the roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Sandbox {
    /// Don't start.
    Strict,
    /// Use what there is, and log what is missing.
    #[default]
    BestEffort,
    /// Give up user and capabilities only: neither seccomp nor Landlock. For looking into problems.
    Off,
}

impl Sandbox {
    /// As written in the file and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::BestEffort => "best-effort",
            Self::Off => "off",
        }
    }

    /// From how it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Strict, Self::BestEffort, Self::Off].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// What plain HTTP requests are answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Web {
    /// The files beneath a folder.
    Files {
        /// The folder.
        root: PathBuf,
        /// Show a folder without an index as a list. On for `--web` unless `--file-only`, off in TOML.
        listing: bool,
    },
    /// The built-in demo page.
    Demo,
}

/// TLS towards clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the certificate chain, leaf first; may hold the key as well. It may be missing or
    /// change while we run: each new connection sees what is there.
    pub certificate: PathBuf,
    /// PEM file of the private key, default the certificate's file.
    pub key: Option<PathBuf>,
    /// Pass phrase of an encrypted key.
    pub key_password: Option<Secret>,
    /// Refuse clients without TLS.
    pub required: bool,
    /// Lowest version to accept.
    pub minimum_version: TlsVersion,
    /// Cipher suites of TLS 1.2 to accept, default all that there are (`--ssl-ciphers`).
    pub ciphers: Option<Ciphers>,
    /// Ask clients for a certificate and refuse those without a good one.
    pub verify_client: bool,
    /// PEM file of the authorities for clients' certificates, default the system's.
    pub client_ca: Option<PathBuf>,
}

/// Versions of TLS that can be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// What to do with text messages, which the original refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TextMessages {
    /// Close with 1003.
    #[default]
    Refuse,
    /// Pass their bytes on as if they were binary.
    Accept,
}

/// When the service ends by itself, default never. Sessions that are open are served to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Lifetime {
    /// After the first session; plain requests don't count.
    pub run_once: bool,
    /// So long after the start no more clients are let in.
    pub timeout: Option<Duration>,
    /// After so long without any connection.
    pub idle_timeout: Option<Duration>,
}

/// Deadlines of each step of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the first byte, default 3 s as the original.
    pub first_byte: Duration,
    /// The whole TLS handshake, default 10 s.
    pub tls_handshake: Duration,
    /// A whole request head, default 10 s; also how long an idle keep-alive connection is kept.
    pub request_head: Duration,
    /// Resolving the target's name and connecting, default 10 s.
    pub connect: Duration,
    /// From our Close frame, or the first end of either direction, to the end, default 5 s.
    pub close_handshake: Duration,
    /// No byte in either direction of a session, default none.
    pub idle: Option<Duration>,
    /// From SIGTERM to the end of all sessions, default 2 s.
    pub stop: Duration,
    /// How long sessions may go on after a reload, under the configuration that they began with. Default
    /// as long as they like: a desktop may be open for weeks.
    pub drain: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(3),
            tls_handshake: Duration::from_secs(10),
            request_head: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            close_handshake: Duration::from_secs(5),
            idle: None,
            stop: Duration::from_secs(2),
            drain: None,
        }
    }
}

/// Bounds on what clients may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, default as many as the limit of open files allows.
    pub connections: Option<u32>,
    /// Requests on one keep-alive connection, default 1000.
    pub keep_alive_requests: u32,
    /// Earlier configurations whose sessions are kept after reloads, default 8: each has processes of its
    /// own, which take some MiB. The sessions of the oldest end with Close 1012.
    pub generations: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: None, keep_alive_requests: 1000, generations: 8 }
    }
}

/// A pass phrase, a password or a token: never printed, not even by `Debug`. It is written only into what roles are
/// told.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}
