//! Setups: the configuration of the roles, sent before they begin.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use zeroize::{Zeroize, Zeroizing};

use super::lookup::{ApiLookup, PluginLink, RedisLookup};
use super::signer::KeyDescription;
use super::token_reach::TokenReach;
use super::wire;
use crate::addr::TargetAddr;
use crate::config::carrier::TokenFrom;
use crate::config::site::{HostPattern, OriginPattern};
use crate::config::token::TokenRefusal;
use crate::config::{
    Limits, PerTarget, Prefix, Proxy, ProxyProtocol, Sandbox, Secret, SuiteNumber, Timeouts,
};
use crate::networks::Networks;
use crate::sys::memory_file;
use crate::ticket::Key;

/// User and group that a role changes to before it reads a byte from anyone else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAs {
    /// User id, never 0.
    pub uid: u32,
    /// Group id. Supplementary groups are dropped.
    pub gid: u32,
}

/// Setup of a gateway. It stays in force for the life of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewaySetup {
    /// User to change to; `None` if the supervisor is not root.
    pub run_as: Option<RunAs>,
    /// Required confinement.
    pub sandbox: Sandbox,
    /// Response to requests that are not for a WebSocket.
    pub page: Page,
    /// The path beneath which everything is served; `None` for all paths.
    pub prefix: Option<Prefix>,
    /// TLS for clients, if configured.
    pub tls: Option<TlsTerms>,
    /// TLS to the target, if configured.
    pub target_tls: Option<TargetTlsTerms>,
    /// Facts about clients that the connector needs.
    pub inquiry: Inquiry,
    /// Proxies that vouch for the addresses of their clients.
    pub proxy: Proxy,
    /// How to refuse clients without a valid token.
    pub token_refusal: TokenRefusal,
    /// Forward text messages instead of rejecting them.
    pub accept_text: bool,
    /// Interval of pings.
    pub heartbeat: Option<Duration>,
    /// Time limits of the steps of a connection.
    pub timeouts: Timeouts,
    /// Limits on resources that clients use.
    pub limits: Limits,
    /// Time limit for an answer of the connector. It exceeds the connector's own time limit.
    pub admission: Duration,
    /// Time that is added to it while a client waits for a target that is not there yet.
    pub wait: Duration,
    /// Record each session in a file that the supervisor opens.
    pub record: bool,
    /// Send a mark for each piece of forwarded data.
    pub traffic: bool,
    /// Number of this run, a part of session ids.
    pub run: u64,
    /// Report the request of each session, for its record.
    pub tell_requests: bool,
    /// Send debug lines.
    pub verbose: bool,
}

/// Facts about clients that the connector needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquiry {
    /// The parts of the request that may contain the token, if tokens are used.
    pub token: Option<TokenFrom>,
    /// Lower-case names of header fields.
    pub headers: Vec<String>,
    /// Version of the client's TLS.
    pub tls: bool,
    /// Common name of the client certificate.
    pub common_name: bool,
    /// Path and all header fields.
    pub head: bool,
    /// Requests for pages need admission too.
    pub pages: bool,
    /// The host that the client asks for.
    pub site: bool,
}

/// Response to requests that are not for a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Page {
    /// An error for every request.
    None,
    /// Files beneath the directory that is passed as a descriptor.
    Files {
        /// List directories that have no index.
        listing: bool,
        /// Absolute paths of the directory without `.` and `..`, the real path last. They identify absolute
        /// links that lead inside.
        names: Vec<OsString>,
    },
    /// The built-in demo page.
    Demo,
}

/// Settings of TLS for clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsTerms {
    /// Reject clients that do not use TLS.
    pub required: bool,
    /// Reject TLS 1.2.
    pub only_1_3: bool,
    /// Accepted suites of TLS 1.2, in order of preference; `None` for all.
    pub suites: Option<Vec<SuiteNumber>>,
    /// Authorities (DER) for client certificates, if those are required.
    pub client_authorities: Option<Vec<Vec<u8>>>,
    /// Name of the certificate file for messages.
    pub certificate_name: String,
}

/// Settings of TLS to the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetTlsTerms {
    /// Trusted authorities (DER).
    pub authorities: Vec<Vec<u8>>,
    /// Name that the target's certificate must contain, if it is not the target's host.
    pub server_name: Option<String>,
}

/// Setup of the connector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorSetup {
    /// User to change to; `None` if the supervisor is not root.
    pub run_as: Option<RunAs>,
    /// Required confinement.
    pub sandbox: Sandbox,
    /// Authentication methods. Clients must pass all of them.
    pub auth: Vec<AuthTerms>,
    /// Authentication is for pages too.
    pub auth_for_pages: bool,
    /// The hosts and the pages of the instance.
    pub site: SiteTerms,
    /// Proxies that vouch for the addresses of their clients.
    pub trusted: Networks,
    /// Limits on resources that clients use. A connection may be granted as many pages as it may send
    /// requests.
    pub limits: Limits,
    /// Targets of sessions.
    pub destination: Destination,
    /// Where tokens may lead.
    pub reach: TokenReach,
    /// How long clients wait for a target that a program is being started for.
    /// `SupervisorToConnector::Program` tells the state of the program.
    pub startup: Option<Duration>,
    /// Limits for each target.
    pub per_target: PerTarget,
    /// Sources have limits or penalties, so that the supervisor is asked about clients for which proxies vouch.
    pub limits_sources: bool,
    /// Sessions are recorded, unless the policy of a token says otherwise.
    pub record: bool,
    /// Sessions use TLS to the target, which the log line mentions.
    pub target_tls: bool,
    /// How targets are told of clients.
    pub proxy_protocol: ProxyProtocol,
    /// Try IPv6 addresses first.
    pub prefer_ipv6: bool,
    /// Time limits of the steps of a connection.
    pub timeouts: Timeouts,
    /// The key that verifies tickets.
    pub ticket_key: Key,
    /// Validity of tickets.
    pub ticket_lifetime: Duration,
    /// The key of token hashes in session records.
    pub token_key: Key,
    /// Interval at which the tokens of open sessions are asked about again.
    pub recheck: Option<Duration>,
    /// How long a client may wait for a target that is not there yet.
    pub wait: Option<Duration>,
}

impl ConnectorSetup {
    /// Whether decisions about clients may need cryptography. Its library takes tens of milliseconds to
    /// initialise, which would delay the first client.
    #[must_use]
    pub fn uses_cryptography(&self) -> bool {
        let auth =
            self.auth.iter().any(|terms| matches!(terms, AuthTerms::External { .. } | AuthTerms::Users));
        auth || match &self.destination {
            Destination::Target(_) | Destination::Program { .. } => false,
            Destination::Tokens(lookup) => match lookup {
                TokenLookup::Lines
                | TokenLookup::FileNames
                | TokenLookup::Tables
                | TokenLookup::SocketDirectory(_) => false,
                TokenLookup::Jwt
                | TokenLookup::SignedLink
                | TokenLookup::Redis(_)
                | TokenLookup::Api(_)
                | TokenLookup::External(_) => true,
            },
        }
    }
}

/// The hosts that clients may ask for, and the pages that may open sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteTerms {
    /// Hosts that clients may ask for; any if empty.
    pub hosts: Vec<HostPattern>,
    /// Pages that may open sessions beside those of the host that is asked for; `None` for any page.
    pub origins: Option<Vec<OriginPattern>>,
    /// Do not log hosts and origins, as they may contain tokens.
    pub is_secret: bool,
}

/// An authentication method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthTerms {
    /// User name and password, separated by a colon.
    Basic(Secret),
    /// User names and passwords, which `SupervisorToConnector::Users` tells.
    Users,
    /// Accepted origins of pages.
    Origin {
        /// The accepted origins.
        expected: Vec<String>,
        /// Do not log rejected origins, as they may contain tokens.
        is_secret: bool,
    },
    /// Accepted common names of client certificates.
    CommonName(Vec<String>),
    /// An external plugin.
    External {
        /// How to reach the plugin.
        link: PluginLink,
        /// The plugin is asked after the lookup of the token, and receives the target.
        after_lookup: bool,
    },
}

/// Targets of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    /// One target for all sessions.
    Target(TargetAddr),
    /// The target that the client's token names.
    Tokens(TokenLookup),
    /// The wrapped program.
    Program {
        /// Port of the program on loopback. `SupervisorToConnector::Program` reports whether it listens.
        port: u16,
        /// How long clients wait for the program to listen.
        patience: Duration,
    },
}

/// A source of targets by token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenLookup {
    /// Lines `token: target` of [`TokenFiles`].
    Lines,
    /// Names of [`TokenFiles`], each containing a target.
    FileNames,
    /// TOML in [`TokenFiles`], with a table for each token.
    Tables,
    /// The unix sockets beneath this directory.
    SocketDirectory(PathBuf),
    /// Signed tokens. The key is the one file of [`TokenFiles`].
    Jwt,
    /// Links of `websockifyctl ticket`. The file of their keys is the one file of [`TokenFiles`].
    SignedLink,
    /// Values stored in Redis.
    Redis(RedisLookup),
    /// An HTTP service.
    Api(ApiLookup),
    /// An external plugin.
    External(PluginLink),
}

/// Time limit for an answer of a service or plugin about a client. The client waits meanwhile.
pub const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);

/// Content of the token files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFiles {
    /// The files can't be read, so that no token is known.
    pub unreadable: bool,
    /// All files. If several contain the same token, the last one wins.
    pub files: Vec<TokenFile>,
    /// The unix sockets in them that the supervisor connects to on request, each with its number. A number is never used
    /// again for another path.
    pub sockets: BTreeMap<PathBuf, u64>,
}

/// A token file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFile {
    /// Path of the file.
    pub path: String,
    /// Name of the file in the log, which differs from `path` if the file's name may be a token.
    pub shown: String,
    /// The content of the file.
    pub content: Vec<u8>,
    /// Why the supervisor does not connect to unix sockets that it names, if they are not in [`TokenFiles::sockets`].
    pub distrust: Option<String>,
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenFile({}, …)", self.shown)
    }
}

/// Setup of the signer.
#[derive(Clone, Serialize, Deserialize)]
pub struct SignerSetup {
    /// User to change to; `None` if the supervisor is not root.
    pub run_as: Option<RunAs>,
    /// Required confinement.
    pub sandbox: Sandbox,
    /// The certificate (DER) that the key must belong to.
    pub certificate: Vec<u8>,
    /// Content of the file with the private key.
    pub key_pem: Vec<u8>,
    /// Pass phrase of the key.
    pub password: Option<String>,
    /// Do not sign handshakes of TLS 1.2.
    pub only_1_3: bool,
}

impl Drop for SignerSetup {
    fn drop(&mut self) {
        self.key_pem.zeroize();
        self.password.zeroize();
    }
}

/// The certificate of the instance, for gateways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerIdentity {
    /// Certificates (DER), leaf first.
    pub chain: Vec<Vec<u8>>,
    /// Public description of the leaf's key.
    pub key: KeyDescription,
    /// The secrets from which all gateways derive the keys of session tickets: the first issues tickets, all open them.
    pub tickets: Vec<TicketSecret>,
}

/// A secret that the gateways of an instance share. Unless it is configured, it is generated for each certificate and
/// each start.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketSecret([u8; 32]);

impl TicketSecret {
    /// Wraps random bytes.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// Returns the secret. Each caller must have a reason to see it.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret(…)")
    }
}

/// Setup of the echo role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EchoSetup {
    /// User to change to; `None` if the supervisor is not root.
    pub run_as: Option<RunAs>,
    /// Required confinement.
    pub sandbox: Sandbox,
}

/// Setup of the exporter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExporterSetup {
    /// User to change to; `None` if the supervisor is not root.
    pub run_as: Option<RunAs>,
    /// Required confinement.
    pub sandbox: Sandbox,
}

/// Serialises a setup to a memory file, which can be sent to any number of roles. No copy of its secrets
/// stays in this process.
///
/// # Errors
///
/// Fails if memory or descriptors run out.
pub fn file(setup: &impl Serialize) -> std::io::Result<OwnedFd> {
    // The buffer has its final capacity from the beginning, as growing would leave copies of secrets behind.
    let len = postcard::experimental::serialized_size(setup).map_err(std::io::Error::other)?;
    let bytes = postcard::to_extend(setup, Vec::with_capacity(len)).map_err(std::io::Error::other)?;
    memory_file::sealed(&Zeroizing::new(bytes))
}

/// Reads a setup from a file of [`file()`].
///
/// # Errors
///
/// Fails if the file can't be read or has other content.
pub fn read<T: DeserializeOwned>(fd: OwnedFd) -> std::io::Result<T> {
    let content = Zeroizing::new(memory_file::content(fd)?);
    Ok(wire::value(&content)?)
}
