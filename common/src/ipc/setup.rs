//! What the roles are told before they begin.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use zeroize::{Zeroize, Zeroizing};

use super::lookup::{ApiLookup, PluginLink, RedisLookup};
use super::signer::KeyDescription;
use super::wire;
use crate::addr::TargetAddr;
use crate::config::token::{TokenFrom, TokenRefusal};
use crate::config::{Limits, Sandbox, Secret, SuiteNumber, Timeouts};
use crate::sys::memory_file;
use crate::ticket::Key;

/// The user and group that a role becomes before it reads a byte from anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAs {
    /// User number, never 0.
    pub uid: u32,
    /// Group number; supplementary groups are dropped.
    pub gid: u32,
}

/// What a gateway is told. Every value is in force for the process's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewaySetup {
    /// Whom to become; nobody else when the supervisor isn't root.
    pub run_as: Option<RunAs>,
    /// How far to be confined.
    pub sandbox: Sandbox,
    /// What plain requests get.
    pub page: Page,
    /// TLS towards clients, if any.
    pub tls: Option<TlsTerms>,
    /// TLS towards the target, if any.
    pub target_tls: Option<TargetTlsTerms>,
    /// What the connector wants to know of a client.
    pub inquiry: Inquiry,
    /// How clients without a good token are refused.
    pub token_refusal: TokenRefusal,
    /// Pass text messages on instead of refusing them.
    pub accept_text: bool,
    /// Interval of pings.
    pub heartbeat: Option<Duration>,
    /// Deadlines of each step.
    pub timeouts: Timeouts,
    /// Bounds on what clients may use.
    pub limits: Limits,
    /// Deadline of an answer from the connector: its own deadline and some more.
    pub admission: Duration,
    /// Ask for a file for each session, and record it there.
    pub record: bool,
    /// Show each piece of data that passes as a mark.
    pub traffic: bool,
    /// What tells the sessions of this run of the service from those of others.
    pub run: u64,
    /// Tell what has opened each session, for its record.
    pub tell_requests: bool,
    /// Log more.
    pub verbose: bool,
}

/// What the connector wants to know of a client that asks for a WebSocket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquiry {
    /// Its token, from where.
    pub token: Option<TokenFrom>,
    /// The fields of its request with these names, in lower case.
    pub headers: Vec<String>,
    /// The common name of its certificate.
    pub common_name: bool,
    /// The path and all fields of its request.
    pub head: bool,
    /// It is to be asked before a page is served, too.
    pub pages: bool,
}

/// What plain requests get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Page {
    /// Nothing but a refusal.
    None,
    /// Files beneath the directory that is passed as a descriptor.
    Files {
        /// Show directories without an index as a list.
        listing: bool,
        /// Absolute paths of the directory without `.` and `..`, the real one last: links to it are written so.
        names: Vec<OsString>,
    },
    /// The built-in demo page.
    Demo,
}

/// On what terms clients may speak TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsTerms {
    /// Refuse clients that don't.
    pub required: bool,
    /// Refuse TLS 1.2.
    pub only_1_3: bool,
    /// The suites of TLS 1.2 to accept, the preferred one first; all if absent.
    pub suites: Option<Vec<SuiteNumber>>,
    /// Authorities (DER) for clients' certificates; present when these are asked for.
    pub client_authorities: Option<Vec<Vec<u8>>>,
    /// How to name the certificate's file to a human.
    pub certificate_name: String,
}

/// How the target proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetTlsTerms {
    /// Authorities (DER) to trust.
    pub authorities: Vec<Vec<u8>>,
    /// The name that its certificate must carry, if not that of its host.
    pub server_name: Option<String>,
}

/// What the connector is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorSetup {
    /// Whom to become.
    pub run_as: Option<RunAs>,
    /// How far to be confined.
    pub sandbox: Sandbox,
    /// What clients must prove, all of it.
    pub auth: Vec<AuthTerms>,
    /// Bounds on what clients may use: a connection may be granted as many pages as it may make requests.
    pub limits: Limits,
    /// Where sessions go.
    pub destination: Destination,
    /// How long clients wait for a target that a program is being started for; whether it is, is told by
    /// `SupervisorToConnector::Program`.
    pub startup: Option<Duration>,
    /// Sessions with the target use TLS, which its log line tells.
    pub target_tls: bool,
    /// Try IPv6 addresses first.
    pub prefer_ipv6: bool,
    /// Deadlines of each step.
    pub timeouts: Timeouts,
    /// Tells the supervisor's tickets from others.
    pub ticket_key: Key,
    /// How long tickets are good.
    pub ticket_lifetime: Duration,
    /// What tokens are told apart by in records.
    pub token_key: Key,
}

impl ConnectorSetup {
    /// Whether deciding about a client may take signatures, ciphers or TLS. Their library takes tens of
    /// milliseconds to start, which the first client would wait.
    #[must_use]
    pub fn uses_cryptography(&self) -> bool {
        let auth = self.auth.iter().any(|terms| matches!(terms, AuthTerms::External { .. }));
        auth || match &self.destination {
            Destination::Target(_) | Destination::Program { .. } => false,
            Destination::Tokens(lookup) => match lookup {
                TokenLookup::Lines | TokenLookup::FileNames | TokenLookup::SocketDirectory(_) => false,
                TokenLookup::Jwt | TokenLookup::Redis(_) | TokenLookup::Api(_) | TokenLookup::External(_) => {
                    true
                }
            },
        }
    }
}

/// What clients must prove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthTerms {
    /// That they know a user name and password, with a colon between them.
    Basic(Secret),
    /// That they are pages of one of these origins.
    Origin {
        /// These.
        expected: Vec<String>,
        /// What a client sends instead is not logged: it may be a token.
        is_secret: bool,
    },
    /// That they have a certificate with one of these common names.
    CommonName(Vec<String>),
    /// What a plugin of the administrator's own asks for.
    External {
        /// How to ask it.
        link: PluginLink,
        /// It wants to know the target, so that the token is looked up before.
        after_lookup: bool,
    },
}

/// Where sessions go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    /// All to the same target.
    Target(TargetAddr),
    /// Each where its client's token leads.
    Tokens(TokenLookup),
    /// All to the wrapped program.
    Program {
        /// Its port on loopback. Whether it listens is told by `SupervisorToConnector::Program`.
        port: u16,
        /// How long clients wait for it to listen.
        patience: Duration,
    },
}

/// What knows the target of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenLookup {
    /// Lines `token: target` of [`TokenFiles`].
    Lines,
    /// The names of [`TokenFiles`], which hold one target each.
    FileNames,
    /// The unix sockets beneath this directory.
    SocketDirectory(PathBuf),
    /// The key is the one file of [`TokenFiles`].
    Jwt,
    /// Values in Redis.
    Redis(RedisLookup),
    /// A service over HTTP.
    Api(ApiLookup),
    /// A plugin of the administrator's own.
    External(PluginLink),
}

/// How long a service or a plugin that is asked about a client may take for its answer. The client waits
/// meanwhile.
pub const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);

/// What the files of tokens hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFiles {
    /// They can't be read, so that nothing is known of any token.
    pub unreadable: bool,
    /// All of them; where two know the same token, the later one is right.
    pub files: Vec<TokenFile>,
}

/// A file of tokens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFile {
    /// Its path, for humans, as far as it is text.
    pub path: String,
    /// What it holds.
    pub content: Vec<u8>,
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenFile({:?}, …)", self.path)
    }
}

/// What the signer is told.
#[derive(Clone, Serialize, Deserialize)]
pub struct SignerSetup {
    /// Whom to become.
    pub run_as: Option<RunAs>,
    /// How far to be confined.
    pub sandbox: Sandbox,
    /// The certificate (DER) that the key must belong to.
    pub certificate: Vec<u8>,
    /// Text of the PEM file with the private key.
    pub key_pem: Vec<u8>,
    /// Pass phrase of the key.
    pub password: Option<String>,
    /// Sign no handshake of TLS 1.2.
    pub only_1_3: bool,
}

impl Drop for SignerSetup {
    fn drop(&mut self) {
        self.key_pem.zeroize();
        self.password.zeroize();
    }
}

/// What clients see of us in a TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerIdentity {
    /// Certificates (DER), the leaf first.
    pub chain: Vec<Vec<u8>>,
    /// The leaf's key.
    pub key: KeyDescription,
    /// What all gateways derive the keys of session tickets from.
    pub tickets: TicketSecret,
}

/// A secret that the gateways of one instance share while a certificate is in force. It is made anew
/// with each certificate and each start, and no other instance has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketSecret([u8; 32]);

impl TicketSecret {
    /// From random bytes.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// The bytes, for the one place that needs them.
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

/// What the demo's echo target is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EchoSetup {
    /// Whom to become.
    pub run_as: Option<RunAs>,
    /// How far to be confined.
    pub sandbox: Sandbox,
}

/// What the exporter is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExporterSetup {
    /// Whom to become.
    pub run_as: Option<RunAs>,
    /// How far to be confined.
    pub sandbox: Sandbox,
}

/// Writes a setup into a file in memory that can be sent to any number of roles. No copy stays behind.
///
/// # Errors
///
/// The kernel's.
pub fn file(setup: &impl Serialize) -> std::io::Result<OwnedFd> {
    // With room for all from the start: growing would leave copies behind.
    let len = postcard::experimental::serialized_size(setup).map_err(std::io::Error::other)?;
    let bytes = postcard::to_extend(setup, Vec::with_capacity(len)).map_err(std::io::Error::other)?;
    memory_file::sealed(&Zeroizing::new(bytes))
}

/// Reads a setup from a file that [`file`] made.
///
/// # Errors
///
/// The kernel's, or that it holds something else.
pub fn read<T: DeserializeOwned>(fd: OwnedFd) -> std::io::Result<T> {
    let content = Zeroizing::new(memory_file::content(fd)?);
    Ok(wire::value(&content)?)
}
