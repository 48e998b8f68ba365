//! The top of the file.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::auth::Auth;
use super::duration::{self, WithUnitOrOff};
use super::log::Log;
use super::option::OptionError;
use super::path::FilePath;
use super::timeouts::{Limits, Timeouts};
use super::tls::{TargetTls, Tls, TrueOrTable};
use super::token::Tokens;
use super::value::{Name, OneOrMany, Rejected, Value, quoted, text_value, words};
use super::web::Web;
use super::wrap::Wrap;
use crate::addr::{ListenAddr, TargetAddr};

/// Most gateway processes that may be asked for; more than processors never pay.
pub const MAX_WORKERS: u16 = 1024;

/// One instance: what it listens on, what it connects to, and on what terms.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, clap::Args)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(transform = super::tests::schema::one_target))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[group(skip)]
pub struct Config {
    /// The instance's name: the file's name without `.toml`, or `websockify` from the command line.
    #[arg(skip)]
    #[serde(skip)]
    pub name: String,
    /// Where to listen. A port alone, such as `"6080"`, stands for all addresses of the machine.
    ///
    /// May be a list of addresses. Sockets that systemd passes are used instead.
    #[arg(skip)]
    #[serde(with = "OneOrMany::<ListenAddr>")]
    #[cfg_attr(test, schemars(example = &"6080"))]
    pub listen: Vec<ListenAddr>,
    /// Mode of unix sockets in octal digits.
    #[arg(skip = DEFAULT_LISTEN_MODE)]
    #[serde(with = "OctalMode")]
    pub listen_mode: u32,
    /// Take the listening socket from standard input. Can't be used with `listen`.
    #[arg(long, help_heading = "Listening", hide_short_help = true)]
    pub inetd: bool,
    /// Where a name has IPv4 and IPv6 addresses, prefer IPv6.
    #[arg(short = '6', long, help_heading = "Listening")]
    pub prefer_ipv6: bool,
    /// What clients are connected to.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"localhost:5901"))]
    pub(super) target: Option<TargetAddr>,
    /// Serve a built-in page with a built-in target, to try things out.
    ///
    /// On the command line it listens on 127.0.0.1:6080 if no address is given.
    #[arg(long, help_heading = "Target")]
    pub demo: bool,
    /// Speak TLS to the target and verify its certificate. A table `[target-tls]` in its place may say more.
    #[arg(skip)]
    #[serde(with = "TrueOrTable")]
    pub target_tls: Option<TargetTls>,
    /// Processes that serve clients: a number, or `auto`.
    ///
    /// `auto`, the default, begins with one and adds more with load, up to the number of processors.
    #[arg(long, value_name = "N", help_heading = "Service", hide_short_help = true)]
    #[arg(default_value = "auto", hide_default_value = true)]
    pub workers: Workers,
    /// User to serve clients as when started as root, by name or number. Default: `websockify` if there is such a user,
    /// else `nobody`.
    ///
    /// Where root can become nobody else, as in some containers, clients are served as root, with a warning.
    #[arg(long, value_name = "NAME", help_heading = "Service", hide_short_help = true)]
    #[cfg_attr(test, schemars(example = &"websockify"))]
    pub user: Option<Name>,
    /// Confinement of the processes that clients reach, with seccomp and Landlock.
    ///
    /// `best-effort`, the default, uses what the kernel has, and warns about what it lacks; `strict` does not start without all of
    /// it; `off` uses none, and is for finding out whether the sandbox is in the way of something.
    #[arg(long, value_name = "MODE", help_heading = "Service", hide_short_help = true)]
    #[arg(default_value = "best-effort", hide_default_value = true)]
    pub sandbox: Sandbox,
    /// Interval of pings; on the command line in seconds, default 0: none.
    ///
    /// A client from which nothing comes for two intervals is dropped. `"off"` sends none.
    // The default is below the minute after which many middleboxes forget idle connections.
    #[arg(long, value_name = "N", help_heading = "Sessions", value_parser = duration::seconds)]
    #[serde(with = "WithUnitOrOff")]
    pub heartbeat: Option<Duration>,
    /// Record each session to this path with a dot and a number behind it, in the format that noVNC plays back.
    ///
    /// Nothing is overwritten: where recordings are from before, the next number that is free is taken. Recordings
    /// hold all that is shown and typed, passwords too; only their owner can read them.
    #[arg(long, value_name = "FILE", help_heading = "Sessions", hide_short_help = true)]
    #[cfg_attr(test, schemars(example = &"/var/lib/websockify/vnc"))]
    pub record: Option<FilePath>,
    /// End after the first session.
    #[arg(long, help_heading = "Service", hide_short_help = true)]
    pub run_once: bool,
    /// Let no more clients in so long after the start, and end with the last session; in seconds on the command line.
    #[arg(long, value_name = "N", help_heading = "Service", hide_short_help = true)]
    #[arg(value_parser = duration::seconds)]
    #[serde(with = "WithUnitOrOff")]
    pub timeout: Option<Duration>,
    /// End after so long without a connection; in seconds on the command line.
    ///
    /// Under systemd the socket stays, and the next client starts the service again.
    #[arg(long, value_name = "N", help_heading = "Service", hide_short_help = true)]
    #[arg(value_parser = duration::seconds)]
    #[serde(with = "WithUnitOrOff")]
    pub idle_timeout: Option<Duration>,
    /// What to do with WebSocket messages of text.
    ///
    /// `"refuse"` closes the session with 1003, `"accept"` passes them on as if they were binary.
    #[arg(skip)]
    pub text: TextMessages,
    /// Log more.
    #[arg(short, long, help_heading = "Log")]
    pub verbose: bool,
    /// Where tokens lead.
    #[arg(skip)]
    #[cfg_attr(test, schemars(with = "Option<super::token::TokenTable>"))]
    pub(super) token: Option<Tokens>,
    /// Static files.
    #[arg(skip)]
    pub web: Option<Web>,
    /// What clients must prove.
    #[arg(skip)]
    #[serde(with = "OneOrMany::<Auth>")]
    pub auth: Vec<Auth>,
    /// TLS towards clients. Absent only if a file has no `[tls]`.
    #[arg(skip)]
    pub tls: Option<Tls>,
    /// The wrapped program.
    #[arg(skip)]
    pub(super) wrap: Option<Wrap>,
    /// Deadlines.
    #[arg(skip)]
    pub timeouts: Timeouts,
    /// Bounds.
    #[arg(skip)]
    pub limits: Limits,
    /// Where what is counted can be read, default nowhere.
    #[arg(skip)]
    pub metrics: Option<Metrics>,
    /// Where log lines go.
    #[command(flatten)]
    pub log: Log,
}

/// Mode of unix listeners' sockets where none is given: the owner alone, as the original.
const DEFAULT_LISTEN_MODE: u32 = 0o600;

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            listen: Vec::new(),
            listen_mode: DEFAULT_LISTEN_MODE,
            inetd: false,
            prefer_ipv6: false,
            target: None,
            demo: false,
            target_tls: None,
            workers: Workers::Auto,
            user: None,
            sandbox: Sandbox::default(),
            heartbeat: Some(Duration::from_secs(30)),
            record: None,
            run_once: false,
            timeout: None,
            idle_timeout: None,
            text: TextMessages::default(),
            verbose: false,
            token: None,
            web: None,
            auth: Vec::new(),
            tls: None,
            wrap: None,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            metrics: None,
            log: Log::default(),
        }
    }
}

impl Config {
    /// What sessions are connected to. The rules of the file and of the command line let exactly one of these through,
    /// but for a program that is started beside a target or tokens.
    #[must_use]
    pub fn target(&self) -> Target<'_> {
        match self {
            Self { target: Some(address), .. } => Target::Static(address),
            Self { token: Some(tokens), .. } => Target::Tokens(tokens),
            Self { wrap: Some(wrap), .. } => Target::Wrapped(wrap),
            _ => Target::Demo,
        }
    }

    /// The program that is started, for sessions that go there or elsewhere.
    #[must_use]
    pub fn program(&self) -> Option<&Wrap> {
        self.wrap.as_ref()
    }

    /// When the service ends by itself.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        let Self { run_once, timeout, idle_timeout, .. } = *self;
        Lifetime { run_once, timeout, idle_timeout }
    }

    /// Clients must prove what `[auth]` asks for static files as well.
    #[must_use]
    pub fn asks_for_pages(&self) -> bool {
        self.web.as_ref().is_some_and(|web| web.auth)
    }
}

/// `vnc` for `/etc/websockify/vnc.toml`.
pub(super) fn instance_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    name.strip_suffix(".toml").unwrap_or(&name).to_owned()
}

/// What sessions are connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Every session goes to the same address.
    Static(&'a TargetAddr),
    /// Each session goes where its client's token leads.
    Tokens(&'a Tokens),
    /// The built-in echo behind the demo page.
    Demo,
    /// A program that we start, and that has been moved to another port.
    Wrapped(&'a Wrap),
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

/// What is counted, for Prometheus and whatever else reads the OpenMetrics text format: GET `/metrics` over HTTP.
///
/// `/health` answers 200 as long as clients can be served, else 503 with the reason. Nobody is asked for a password
/// there: keep it to addresses that only those who monitor can reach.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Metrics {
    /// Where that is, such as `"127.0.0.1:9100"` or `"unix:/run/websockify/NAME/metrics.sock"`.
    ///
    /// It is never at a listener of clients. A unix socket has the mode of `listen-mode`.
    #[cfg_attr(test, schemars(example = &"127.0.0.1:9100"))]
    pub listen: ListenAddr,
}

/// How many gateway processes there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One at first, more with load, up to the number of processors.
    Auto,
    /// This many, from the start.
    Fixed(u16),
}

impl Value for Workers {
    const EXPECTED: &'static str = "\"auto\" or a number of processes";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => Err(Rejected::new(
                format!("{} is no number of processes", quoted(text)),
                format!("write \"auto\", or a number from 1 to {MAX_WORKERS} without quotes"),
            )),
        }
    }

    fn from_number(number: i64) -> Option<Self> {
        u16::try_from(number).ok().filter(|number| (1..=MAX_WORKERS).contains(number)).map(Self::Fixed)
    }

    fn help_for_number(_number: &str) -> String {
        format!("write \"auto\", or a number from 1 to {MAX_WORKERS}")
    }
}

text_value!(Workers);

impl Serialize for Workers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed(number) => serializer.serialize_u16(*number),
        }
    }
}

impl FromStr for Workers {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let number =
            if text == "auto" { Some(Self::Auto) } else { text.parse().ok().and_then(Self::from_number) };
        number.ok_or_else(|| {
            let help = format!("give a number from 1 to {MAX_WORKERS}, or auto");
            OptionError::new(format!("invalid value: '{}'", text.escape_debug()), help)
        })
    }
}

words! {
    /// What to do where the kernel can't confine the roles.
    pub enum Sandbox {
        /// Don't start.
        Strict = "strict",
        /// Use what there is, and log what is missing.
        #[default]
        BestEffort = "best-effort",
        /// Give up user and capabilities only: neither seccomp nor Landlock. For looking into problems.
        Off = "off",
    }
}

words! {
    /// What to do with text messages, which the original refuses.
    pub enum TextMessages {
        /// Close with 1003.
        #[default]
        Refuse = "refuse",
        /// Pass their bytes on as if they were binary.
        Accept = "accept",
    }
}

/// For `#[serde(with = "OctalMode")]`: permissions of a socket.
pub(super) struct OctalMode(u32);

impl OctalMode {
    pub(super) fn serialize<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{mode:04o}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        super::value::read(deserializer).map(|Self(mode)| mode)
    }
}

impl Value for OctalMode {
    const EXPECTED: &'static str = "octal digits in quotes such as \"0660\"";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            _ => Err(Rejected::new(
                format!("{} is no mode of a socket", quoted(text)),
                "write octal digits from \"0000\" to \"0777\", such as \"0660\"",
            )),
        }
    }

    fn help_for_number(_number: &str) -> String {
        "write octal digits in quotes, such as \"0660\"".to_owned()
    }
}
