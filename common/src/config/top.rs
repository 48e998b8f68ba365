//! Keys at the top of the file.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::auth::{Auth, AuthPlugin};
use super::duration::{self, WithUnitOrOff};
use super::listen::Listener;
use super::log::Log;
use super::option::OptionError;
use super::path::FilePath;
use super::per_source::{Penalties, PerSource};
use super::per_target::PerTarget;
use super::prefix::Prefix;
use super::proxy::Proxy;
use super::site::{HostPattern, OriginPattern};
use super::stop::Stop;
use super::switch::TrueOrTable;
use super::timeouts::{Limits, Timeouts};
use super::tls::{TargetTls, Tls};
use super::token::{TokenPlugin, Tokens};
use super::value::{Name, OneOrMany, Rejected, Value, quoted, text_value, words};
use super::web::Web;
use super::wrap::Wrap;
use crate::addr::{ListenAddr, TargetAddr};
use crate::control;
use crate::ipc::exporter::Protocol;

/// Maximum number of gateway processes. More than there are processors never pays.
pub const MAX_WORKERS: u16 = 1024;

/// Configuration of an instance: where it listens, what it connects to, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, clap::Args)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(transform = super::tests::schema::one_target))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[group(skip)]
pub struct Config {
    /// Name of the instance: the file name without `.toml`, or `websockify` if it was started from a command
    /// line.
    #[arg(skip)]
    #[serde(skip)]
    pub name: String,
    /// Where to listen. A port alone, such as `"6080"`, means all addresses of the machine.
    ///
    /// May be a list of addresses. Sockets that systemd passes are used instead.
    #[arg(skip)]
    ///
    /// A table in place of an address, `{ address = "6081", proxy-protocol = true }`, is a listener for proxies that
    /// forward TCP: connections of peers in `proxy.trusted` must begin with a header of the PROXY protocol, version 1 or
    /// 2, which tells the client's address. From other peers no such header is accepted.
    #[serde(with = "OneOrMany::<Listener>")]
    #[cfg_attr(test, schemars(example = &"6080"))]
    pub listen: Vec<Listener>,
    /// Permissions of unix sockets in octal digits.
    #[arg(skip = DEFAULT_LISTEN_MODE)]
    #[serde(with = "OctalMode")]
    pub listen_mode: u32,
    /// Names that clients may ask for in the `Host` header. Default: any.
    ///
    /// Requests for other names are refused, pages included, so that no web site whose name leads to this machine
    /// (DNS rebinding) counts as one of ours. `"*.example.com"` stands for all names below. Addresses and
    /// `localhost` may always be asked for.
    #[arg(skip)]
    #[serde(with = "OneOrMany::<HostPattern>")]
    #[cfg_attr(test, schemars(example = &"vnc.example.com"))]
    pub hosts: Vec<HostPattern>,
    /// Use standard input as the listening socket. Can't be used with `listen`.
    #[arg(long, help_heading = "Listening", hide_short_help = true)]
    pub inetd: bool,
    /// Prefer IPv6 if a name has both IPv4 and IPv6 addresses.
    #[arg(short = '6', long, help_heading = "Listening")]
    pub prefer_ipv6: bool,
    /// The target that clients are connected to.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"localhost:5901"))]
    pub(super) target: Option<TargetAddr>,
    /// Serve a built-in page with a built-in target, for a first try.
    ///
    /// On the command line it listens on 127.0.0.1:6080 if no address is given.
    #[arg(long, help_heading = "Target")]
    pub demo: bool,
    /// Use TLS to the target and verify its certificate. A table `[target-tls]` in its place has more keys.
    #[arg(skip)]
    #[serde(with = "TrueOrTable::<TargetTls>")]
    pub target_tls: Option<TargetTls>,
    /// Tell the target the addresses of the client, by the PROXY protocol of HAProxy in this version: `"v1"` or `"v2"`.
    ///
    /// The header precedes everything else, TLS to the target too. It has the address of the client, or the one for which
    /// a trusted proxy vouches, and the address that it has connected to; for a client of a unix socket it says that
    /// they are unknown. `"v2"` also tells the version of the client's TLS, and the common name of its certificate. The
    /// target must expect the header. Default: `"off"`.
    #[arg(skip)]
    pub target_proxy_protocol: ProxyProtocol,
    /// Number of processes that serve clients, or `auto`.
    ///
    /// `auto`, the default, starts one process and adds more under load, up to the number of processors.
    #[arg(long, value_name = "N", help_heading = "Service", hide_short_help = true)]
    #[arg(default_value = "auto", hide_default_value = true)]
    pub workers: Workers,
    /// User to serve clients as when started as root, by name or number. Default: `websockify` if that user
    /// exists, else `nobody`.
    ///
    /// Where root can't change its user, as in some containers, clients are served as root, with a warning.
    #[arg(long, value_name = "NAME", help_heading = "Service", hide_short_help = true)]
    #[cfg_attr(test, schemars(example = &"websockify"))]
    pub user: Option<Name>,
    /// Confinement of the processes that handle clients, by seccomp and Landlock.
    ///
    /// `best-effort`, the default, uses what the kernel supports and warns about the rest. `strict` does not
    /// start unless all of it is available. `off` disables it, in order to find out whether the sandbox
    /// causes a problem.
    #[arg(long, value_name = "MODE", help_heading = "Service", hide_short_help = true)]
    #[arg(default_value = "best-effort", hide_default_value = true)]
    pub sandbox: Sandbox,
    /// Interval of pings; on the command line in seconds, default 0: none.
    ///
    /// A client that is silent for two intervals is disconnected. `"off"` disables pings.
    #[arg(long, value_name = "N", help_heading = "Sessions", value_parser = duration::seconds)]
    #[serde(with = "WithUnitOrOff")]
    pub heartbeat: Option<Duration>,
    /// How long a client waits for a target that is not there yet, as a machine that is being started.
    ///
    /// The WebSocket opens, and the target is dialled again until it can be connected. What the client sends meanwhile is
    /// kept, up to 16 KiB. When the time is up the session is closed with code 1011. `"off"`, the default, refuses the
    /// client at once.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"60s"))]
    #[serde(with = "WithUnitOrOff")]
    pub wait: Option<Duration>,
    /// Record each session in a file with this path, followed by a dot and a number, in the format that noVNC
    /// plays back.
    ///
    /// Existing files are never overwritten; the next free number is used. Recordings contain everything that
    /// is shown and typed, including passwords. Only their owner can read them.
    #[arg(long, value_name = "FILE", help_heading = "Sessions", hide_short_help = true)]
    #[cfg_attr(test, schemars(example = &"/var/lib/websockify/vnc"))]
    pub record: Option<FilePath>,
    /// End after the first session.
    #[arg(long, help_heading = "Service", hide_short_help = true)]
    pub run_once: bool,
    /// Accept no more clients after this time, and end with the last session; on the command line in seconds.
    #[arg(long, value_name = "N", help_heading = "Service", hide_short_help = true)]
    #[arg(value_parser = duration::seconds)]
    #[serde(with = "WithUnitOrOff")]
    pub timeout: Option<Duration>,
    /// End after this time without a connection; on the command line in seconds.
    ///
    /// With socket activation the socket remains, and the next client starts the service again.
    #[arg(long, value_name = "N", help_heading = "Service", hide_short_help = true)]
    #[arg(value_parser = duration::seconds)]
    #[serde(with = "WithUnitOrOff")]
    pub idle_timeout: Option<Duration>,
    /// What to do with WebSocket text messages.
    ///
    /// `"refuse"` closes the session with code 1003, `"accept"` forwards them like binary ones.
    #[arg(skip)]
    pub text: TextMessages,
    /// Log more details.
    #[arg(short, long, help_heading = "Log")]
    pub verbose: bool,
    /// Targets by token.
    #[arg(skip)]
    #[cfg_attr(test, schemars(with = "Option<super::token::TokenTable>"))]
    pub(super) token: Option<Tokens>,
    /// Static files, and the pages that may open sessions.
    #[arg(skip)]
    pub web: Option<Web>,
    /// Authentication of clients.
    #[arg(skip)]
    #[serde(with = "OneOrMany::<Auth>")]
    pub auth: Vec<Auth>,
    /// TLS for clients. `None` only for a file without `[tls]`.
    #[arg(skip)]
    pub tls: Option<Tls>,
    /// Reverse proxies.
    #[arg(skip)]
    pub proxy: Proxy,
    /// The wrapped program.
    #[arg(skip)]
    pub(super) wrap: Option<Wrap>,
    /// Time limits.
    #[arg(skip)]
    pub timeouts: Timeouts,
    /// How the service ends.
    #[arg(skip)]
    pub stop: Stop,
    /// Limits on resources.
    #[arg(skip)]
    pub limits: Limits,
    /// Limits for each source of connections. `false` switches them off, which is the default on the command line.
    #[arg(skip)]
    #[serde(with = "TrueOrTable::<PerSource>")]
    #[cfg_attr(test, schemars(example = &false))]
    pub per_source: Option<PerSource>,
    /// Penalties for wrong passwords and the like. `false` switches them off, which is the default on the command line.
    #[arg(skip)]
    #[serde(with = "TrueOrTable::<Penalties>")]
    #[cfg_attr(test, schemars(example = &false))]
    pub penalties: Option<Penalties>,
    /// Limits for each target.
    #[arg(skip)]
    pub per_target: PerTarget,
    /// Metrics and health over HTTP. Default: none.
    #[arg(skip)]
    pub metrics: Option<Metrics>,
    /// Destinations of log lines.
    #[command(flatten)]
    pub log: Log,
}

/// Name of the file in the instance's own directory that has the key of its links.
const LINK_KEYS: &str = "ticket.key";

/// Default permissions of unix listeners: the owner only, as in the original.
const DEFAULT_LISTEN_MODE: u32 = 0o600;

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            listen: Vec::new(),
            listen_mode: DEFAULT_LISTEN_MODE,
            hosts: Vec::new(),
            inetd: false,
            prefer_ipv6: false,
            target: None,
            demo: false,
            target_tls: None,
            target_proxy_protocol: ProxyProtocol::default(),
            workers: Workers::Auto,
            user: None,
            sandbox: Sandbox::default(),
            heartbeat: Some(Duration::from_secs(30)),
            wait: None,
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
            proxy: Proxy::default(),
            wrap: None,
            timeouts: Timeouts::default(),
            stop: Stop::default(),
            limits: Limits::default(),
            per_source: Some(PerSource::default()),
            penalties: Some(Penalties::default()),
            per_target: PerTarget::default(),
            metrics: None,
            log: Log::default(),
        }
    }
}

impl Config {
    /// The target of sessions. The rules ensure that exactly one is configured, except that a program may be
    /// started beside a target or tokens.
    #[must_use]
    pub fn target(&self) -> Target<'_> {
        match self {
            Self { target: Some(address), .. } => Target::Static(address),
            Self { token: Some(tokens), .. } => Target::Tokens(tokens),
            Self { wrap: Some(wrap), .. } => Target::Wrapped(wrap),
            _ => Target::Demo,
        }
    }

    /// The program to start, whether or not sessions are connected to it.
    #[must_use]
    pub fn program(&self) -> Option<&Wrap> {
        self.wrap.as_ref()
    }

    /// The file with the keys of links, if the instance accepts links, and whether it is the instance's own, which is
    /// created when it is needed. `None` as well if nobody can tell where that is, as `$HOME` is not set.
    #[must_use]
    pub fn link_keys(&self) -> Option<(PathBuf, bool)> {
        match self.target() {
            Target::Tokens(Tokens { plugin: TokenPlugin::SignedLink(Some(path)), .. }) => {
                Some((path.clone(), false))
            }
            Target::Tokens(Tokens { plugin: TokenPlugin::SignedLink(None), .. }) => {
                Some((control::state_directory(&self.name)?.join(LINK_KEYS), true))
            }
            _ => None,
        }
    }

    /// The file with the key of the hashes that stand for tokens, if configured.
    #[must_use]
    pub fn token_hash_keys(&self) -> Option<&Path> {
        self.token.as_ref()?.hash_keys.as_deref()
    }

    /// The conditions under which the service ends by itself.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        let Self { run_once, timeout, idle_timeout, .. } = *self;
        Lifetime { run_once, timeout, idle_timeout }
    }

    /// The directory of static files, and how they are served.
    #[must_use]
    pub fn web_root(&self) -> Option<(&FilePath, &Web)> {
        self.web.as_ref().and_then(|web| Some((web.root.as_ref()?, web)))
    }

    /// Further pages that may open sessions; `None` if all may, or if `ExpectOrigin` decides.
    #[must_use]
    pub fn origins(&self) -> Option<&[OriginPattern]> {
        let expected = self.auth.iter().any(|auth| matches!(auth.plugin, AuthPlugin::Origin(_)));
        let own = self.web.as_ref().map_or(&[][..], |web| &web.origins);
        (!expected && !own.contains(&OriginPattern::Any)).then_some(own)
    }

    /// The file of users for `BasicHTTPAuth`.
    #[must_use]
    pub fn users_file(&self) -> Option<&FilePath> {
        self.auth.iter().find_map(|auth| match &auth.plugin {
            AuthPlugin::Users(path) => Some(path),
            _ => None,
        })
    }

    /// The path beneath which everything is served, if not all paths are.
    #[must_use]
    pub fn prefix(&self) -> Option<&Prefix> {
        self.web.as_ref().and_then(|web| web.prefix.as_ref())
    }

    /// Whether `[auth]` applies to static files too.
    #[must_use]
    pub fn asks_for_pages(&self) -> bool {
        self.web.as_ref().is_some_and(|web| web.auth)
    }
}

/// Name of the instance of a file: `vnc` for `/etc/websockify/vnc.toml`.
pub(super) fn instance_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    name.strip_suffix(".toml").unwrap_or(&name).to_owned()
}

/// The target of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// One address for all sessions.
    Static(&'a TargetAddr),
    /// The target that the client's token names.
    Tokens(&'a Tokens),
    /// The built-in echo behind the demo page.
    Demo,
    /// The wrapped program, whose port is moved.
    Wrapped(&'a Wrap),
}

/// The conditions under which the service ends by itself; by default there are none. Open sessions are served
/// to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Lifetime {
    /// After the first session. Requests for pages don't count.
    pub run_once: bool,
    /// Time after the start from which no more clients are accepted.
    pub timeout: Option<Duration>,
    /// Time without any connection.
    pub idle_timeout: Option<Duration>,
}

/// Metrics in the OpenMetrics text format, for Prometheus and compatible collectors: GET `/metrics` over
/// HTTP.
///
/// `/ready` and `/health` respond with 200 while clients can be served, else with 503 and the reason. `/alive` responds
/// with 200 as long as the service answers. There is no authentication: use an address that only monitoring can reach.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Metrics {
    /// Where to serve metrics, such as `"127.0.0.1:9100"` or `"unix:/run/websockify/NAME/metrics.sock"`.
    ///
    /// This must not be a listener of clients. A unix socket has the permissions of `listen-mode`.
    #[cfg_attr(test, schemars(example = &"127.0.0.1:9100"))]
    pub listen: ListenAddr,
    /// Where to answer HAProxy's agent checks, such as `"10.1.0.5:9101"`.
    ///
    /// The answer is `up` and the share of connections that are free, as the server's weight; `drain` when no more
    /// clients are accepted; or `down` and the reason. No request is read, and there is no authentication.
    #[cfg_attr(test, schemars(example = &"10.1.0.5:9101"))]
    pub agent_check: Option<ListenAddr>,
}

impl Metrics {
    /// The listeners with their keys, and what they serve.
    pub fn listeners(&self) -> impl Iterator<Item = (&'static str, Protocol, &ListenAddr)> {
        let agent_check = self.agent_check.iter();
        std::iter::once(("metrics.listen", Protocol::Http, &self.listen))
            .chain(agent_check.map(|address| ("metrics.agent-check", Protocol::AgentCheck, address)))
    }
}

/// Number of gateway processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One at first, and more under load, up to the number of processors.
    Auto,
    /// A fixed number.
    Fixed(u16),
}

impl Value for Workers {
    const EXPECTED: &'static str = "\"auto\" or a number of processes";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => Err(Rejected::new(
                format!("{} is not a number of processes", quoted(text)),
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
    /// What to do if the kernel can't confine the roles.
    pub enum Sandbox {
        /// Refuse to start.
        Strict = "strict",
        /// Use what is available, and log what is missing.
        #[default]
        BestEffort = "best-effort",
        /// Drop user and capabilities only, without seccomp and Landlock. For finding causes of problems.
        Off = "off",
    }
}

words! {
    /// The version of the PROXY protocol in which a target is told of a client.
    pub enum ProxyProtocol {
        /// None: the target is told nothing.
        #[default]
        Off = "off",
        /// Version 1, a line of text.
        V1 = "v1",
        /// Version 2, which is binary and tells of TLS as well.
        V2 = "v2",
    }
}

words! {
    /// What to do with text messages. The original rejects them.
    pub enum TextMessages {
        /// Close the session with code 1003.
        #[default]
        Refuse = "refuse",
        /// Forward their bytes like binary messages.
        Accept = "accept",
    }
}

/// Serialises the permissions of a socket as octal text. For `#[serde(with = "OctalMode")]`.
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
                format!("{} is not the mode of a socket", quoted(text)),
                "write octal digits from \"0000\" to \"0777\", such as \"0660\"",
            )),
        }
    }

    fn help_for_number(_number: &str) -> String {
        "write octal digits in quotes, such as \"0660\"".to_owned()
    }
}
