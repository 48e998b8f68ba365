//! The setups of the roles: their parts of the configuration, with the content of all files.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use common::addr::TargetAddr;
use common::config::auth::AuthPlugin;
use common::config::carrier::Carrier;
use common::config::external_plugin::ExternalPlugin;
use common::config::http_url::{HttpUrl, UrlTemplate};
use common::config::token::{TokenPlugin, TokenRefusal, Tokens};
use common::config::{Config, ProxyProtocol, Sandbox, Secret, Target, TextMessages, TlsVersion};
use common::ipc::lookup::{ApiAnswer, ApiLookup, PluginLink, RedisLookup, Service};
use common::ipc::setup::{
    self, AuthTerms, ConnectorSetup, Destination, EchoSetup, GatewaySetup, Inquiry, LOOKUP_DEADLINE, Page,
    RunAs, SiteTerms, TargetTlsTerms, TlsTerms, TokenLookup,
};
use common::ipc::token_reach::TokenReach;
use common::shared_keys::SharedKeys;
use common::ticket::Key;
use common::user;
use rustix::process::geteuid;

use crate::files::certificate::{self, CertificateError};
use crate::files::sockets::TargetSockets;
use crate::files::{unreadable, web_root};
use crate::os::{identity, log};
use crate::state::session::Run;

/// Default users of the roles, in order of precedence. The last one needs no entry in passwd(5).
const DEFAULT_USERS: [&str; 3] = ["websockify", "nobody", "65534"];

/// Time for which a connection may serve pages before a request that opens a session, in addition to the time
/// limits of its first request.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Maximum number of unreadable files of the web directory that are logged.
const MAX_UNREADABLE: usize = 10;

/// The setups of one configuration.
#[derive(Debug)]
pub(crate) struct Setups {
    /// The user that every role changes to.
    pub(crate) run_as: Option<RunAs>,
    /// The reason why the roles run as root, if they should not.
    pub(crate) no_user: Option<String>,
    /// A [`GatewaySetup`] in a memory file.
    pub(crate) gateway: OwnedFd,
    /// The web directory, if there is one.
    pub(crate) web_root: Option<OwnedFd>,
    /// The setup of the connector. It contains passwords and keys, and therefore is written to a memory file
    /// only to be passed on.
    pub(crate) connector: Box<ConnectorSetup>,
    /// An [`EchoSetup`] in a memory file.
    pub(crate) echo: OwnedFd,
}

/// The image of the program that has started the roles of a generation.
#[derive(Debug)]
pub(crate) enum Origin {
    /// The current image, which has the setups.
    Started(Setups),
    /// An earlier image. Its setups have another version, so that the roles can't be started again. Its connector may
    /// request these sockets.
    Adopted {
        /// The sockets that its connector may request.
        sockets: Rc<TargetSockets>,
        /// The key of the hashes of tokens.
        token_key: Key,
    },
}

/// The role belongs to an adopted generation and can't be started.
#[derive(Debug, thiserror::Error)]
#[error("a role of the previous version can't be restarted; reload")]
pub(crate) struct Outdated;

/// The reason why the setups can't be created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// A file can't be read.
    #[error("cannot read {what} {path:?}: {source}")]
    Read {
        /// Purpose of the file.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A certificate file can't be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The configured user does not exist.
    #[error("no such user: {0:?}; create it, or name another with user = \"NAME\" or --user")]
    NoUser(String),
    /// The process is root but can't change to another user.
    #[error(
        "the roles can't have a user of their own: {0}; sandbox = \"best-effort\" serves clients as root"
    )]
    OnlyRoot(String),
    /// The configured user is root.
    #[error("user {0:?} is root: name an unprivileged user")]
    RootUser(String),
    /// A file with keys can't be used.
    #[error("{path:?} {reason}")]
    Keys {
        /// Path of the file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A memory file can't be created.
    #[error("cannot pass the configuration to the roles: {0}")]
    Memory(#[from] io::Error),
}

impl Setups {
    /// Reads everything that roles need and can't open themselves. `destination` is the target of sessions.
    /// `own` are the addresses at which the service listens. `ticket_key` is the key by which the connector verifies
    /// tickets, `token_key` that of the hashes of tokens unless one is configured.
    pub(crate) fn read(
        config: &Config,
        destination: Destination,
        own: Vec<SocketAddr>,
        ticket_key: &Key,
        run: Run,
        token_key: Key,
    ) -> Result<Self, SetupError> {
        let token_key = match config.token_hash_keys() {
            Some(path) => {
                let failed = |reason| SetupError::Keys { path: path.to_path_buf(), reason };
                Key::new(**SharedKeys::read(path).map_err(failed)?.first())
            }
            None => token_key,
        };
        let (run_as, no_user) = run_as(config.user.as_deref(), config.sandbox)?;
        let web_root = match config.web_root() {
            Some((root, _)) => Some(web_root::open(root).map_err(|source| SetupError::Read {
                what: "the web root",
                path: root.to_path_buf(),
                source,
            })?),
            None => None,
        };
        if let (Some((root, _)), Some(user)) = (config.web_root(), run_as) {
            warn_of_unreadable(root, user);
        }
        let gateway = setup::file(&gateway(config, &destination, run_as, run)?)?;
        let connector = Box::new(ConnectorSetup {
            run_as,
            sandbox: config.sandbox,
            trusted: config.proxy.trusted.clone(),
            auth: config.auth.iter().map(|auth| auth_terms(&auth.plugin, config)).collect(),
            auth_for_pages: config.asks_for_pages(),
            site: site_terms(config),
            limits: config.limits,
            destination,
            reach: token_reach(config, own),
            startup: config.program().filter(|_| !is_moved(config)).map(|program| program.start_timeout),
            per_target: config.per_target,
            limits_sources: config.per_source.is_some() || config.penalties.is_some(),
            record: config.record.is_some(),
            target_tls: config.target_tls.is_some(),
            proxy_protocol: config.target_proxy_protocol,
            prefer_ipv6: config.prefer_ipv6,
            timeouts: config.timeouts,
            ticket_key: ticket_key.clone(),
            ticket_lifetime: ticket_lifetime(config),
            token_key,
            wait: config.wait,
            recheck: match config.target() {
                Target::Tokens(tokens) => tokens.recheck,
                Target::Static(_) | Target::Wrapped(_) | Target::Demo => None,
            },
        });
        let echo = setup::file(&EchoSetup { run_as, sandbox: config.sandbox })?;
        Ok(Self { run_as, no_user, gateway, web_root, connector, echo })
    }
}

/// Validity of tickets: the time for a client's first request, and [`KEEP_ALIVE`] for further requests on the
/// connection. Gateways close connections that are older than that and have no session. Only a download that
/// takes longer than [`KEEP_ALIVE`] can leave a client with a connection that can't open a session any more.
pub(crate) fn ticket_lifetime(config: &Config) -> Duration {
    let timeouts = config.timeouts;
    [timeouts.tls_handshake, timeouts.request_head, KEEP_ALIVE]
        .iter()
        .fold(timeouts.first_byte, |sum, step| sum.saturating_add(*step))
}

fn gateway(
    config: &Config,
    destination: &Destination,
    run_as: Option<RunAs>,
    run: Run,
) -> Result<GatewaySetup, SetupError> {
    let tokens = match config.target() {
        Target::Tokens(tokens) => Some(tokens),
        Target::Static(_) | Target::Wrapped(_) | Target::Demo => None,
    };
    let patience = config.program().map_or(Duration::ZERO, |program| program.start_timeout);
    Ok(GatewaySetup {
        run_as,
        sandbox: config.sandbox,
        page: match config.web_root() {
            Some((root, web)) => Page::Files { listing: web.listing, names: web_root::names(root) },
            None if config.demo => Page::Demo,
            None => Page::None,
        },
        prefix: config.prefix().cloned(),
        tls: tls_terms(config)?,
        target_tls: target_tls_terms(config, destination)?,
        inquiry: inquiry(config),
        proxy: config.proxy.clone(),
        token_refusal: tokens.map_or(TokenRefusal::default(), |tokens| tokens.refusal),
        accept_text: config.text == TextMessages::Accept,
        heartbeat: config.heartbeat,
        timeouts: config.timeouts,
        limits: config.limits,
        // The connector's own time limit must expire first.
        admission: config.timeouts.connect
            + patience.max(LOOKUP_DEADLINE)
            + LOOKUP_DEADLINE * slow_auth_plugins(config)
            + Duration::from_secs(2),
        wait: config.wait.unwrap_or_default(),
        record: config.record.is_some(),
        traffic: config.log.traffic,
        run: run.number(),
        tell_requests: log::keeps_fields(),
        verbose: config.verbose,
    })
}

/// Whether sessions are connected to the wrapped program.
fn is_moved(config: &Config) -> bool {
    matches!(config.target(), Target::Wrapped(_))
}

/// Number of methods that authenticate a client one after the other and take up to [`LOOKUP_DEADLINE`] each.
fn slow_auth_plugins(config: &Config) -> u32 {
    let is_slow = |plugin: &AuthPlugin| matches!(plugin, AuthPlugin::External { .. } | AuthPlugin::Users(_));
    let slow = config.auth.iter().filter(|auth| is_slow(&auth.plugin));
    u32::try_from(slow.count()).unwrap_or(u32::MAX)
}

fn tls_terms(config: &Config) -> Result<Option<TlsTerms>, SetupError> {
    let Some(tls) = &config.tls else { return Ok(None) };
    let client_authorities = match (tls.verify_client, &tls.client_ca) {
        (false, _) => None,
        (true, Some(path)) => Some(certificate::read(path, "authorities for clients")?),
        (true, None) => Some(system_authorities()),
    };
    Ok(Some(TlsTerms {
        required: tls.is_required(),
        only_1_3: tls.minimum_version == TlsVersion::V1_3,
        suites: tls.ciphers.as_ref().map(|ciphers| ciphers.suites().to_vec()),
        client_authorities,
        certificate_name: tls.certificate.display().to_string(),
    }))
}

fn target_tls_terms(
    config: &Config,
    destination: &Destination,
) -> Result<Option<TargetTlsTerms>, SetupError> {
    let Some(tls) = &config.target_tls else { return Ok(None) };
    let authorities = match &tls.ca_file {
        Some(path) => certificate::read(path, "authorities for the target")?,
        None => system_authorities(),
    };
    let server_name = match (&tls.server_name, destination) {
        (Some(name), _) => Some(name.to_string()),
        (None, Destination::Target(TargetAddr::Tcp { host, .. })) => Some(host.clone()),
        (None, Destination::Target(TargetAddr::Unix(_)) | Destination::Program { .. }) => {
            Some("localhost".into())
        }
        (None, Destination::Tokens(_)) => None,
    };
    Ok(Some(TargetTlsTerms { authorities, server_name }))
}

/// The authorities that the system trusts, or those of `$SSL_CERT_FILE` and `$SSL_CERT_DIR`.
fn system_authorities() -> Vec<Vec<u8>> {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!("ignoring authorities of the system: {error}");
    }
    found.certs.into_iter().map(|one| one.to_vec()).collect()
}

/// Logs files of the web directory that root can read, but the user who serves them can't.
fn warn_of_unreadable(root: &Path, user: RunAs) {
    for path in unreadable::find(root, user, MAX_UNREADABLE) {
        tracing::warn!("user {} can't read {path:?}, so it is not served: chmod o+rX", user.uid);
    }
}

/// The user of the roles; `None` unless the process is root. If root can't change its user, the result is
/// `None` with the reason: the roles then keep their user, unless `strict` forbids that.
pub(crate) fn run_as(
    user: Option<&str>,
    sandbox: Sandbox,
) -> Result<(Option<RunAs>, Option<String>), SetupError> {
    if !geteuid().is_root() {
        return Ok((None, None));
    }
    let found = match user {
        Some(name) => user::find(name)?,
        None => DEFAULT_USERS.iter().find_map(|name| user::find(name).transpose()).transpose()?,
    };
    let found = found.ok_or_else(|| SetupError::NoUser(user.unwrap_or_default().into()))?;
    let missing = identity::obstacle(found.uid, found.gid);
    match missing {
        // Running as root because nothing else is possible must not be requested explicitly.
        None if found.uid == 0 => Err(SetupError::RootUser(user.unwrap_or_default().into())),
        None => Ok((Some(RunAs { uid: found.uid, gid: found.gid }), None)),
        Some(reason) if sandbox == Sandbox::Strict => Err(SetupError::OnlyRoot(reason)),
        Some(reason) => Ok((None, Some(reason))),
    }
}

/// The facts that the plugins need, and no others.
fn inquiry(config: &Config) -> Inquiry {
    let mut wants_origin = config.origins().is_some() || has_policies(config);
    let mut inquiry = Inquiry {
        pages: config.asks_for_pages() || !config.hosts.is_empty(),
        site: !config.hosts.is_empty() || config.origins().is_some(),
        ..Inquiry::default()
    };
    if let Target::Tokens(tokens) = config.target() {
        inquiry.token = Some(tokens.from.clone());
        if let TokenPlugin::External { .. } = tokens.plugin {
            (inquiry.head, inquiry.common_name) = (true, true);
        }
    }
    for auth in &config.auth {
        match auth.plugin {
            AuthPlugin::Basic(_) | AuthPlugin::Users(_) => inquiry.headers.push("authorization".into()),
            AuthPlugin::Origin(_) => wants_origin = true,
            AuthPlugin::CommonName(_) => inquiry.common_name = true,
            AuthPlugin::External { .. } => (inquiry.head, inquiry.common_name) = (true, true),
        }
    }
    // The policy of a token may choose version 2.
    if config.target_proxy_protocol == ProxyProtocol::V2 || has_policies(config) {
        (inquiry.tls, inquiry.common_name) = (true, true);
    }
    if wants_origin {
        inquiry.headers.push("origin".into());
    }
    inquiry
}

/// Whether tokens may have policies.
pub(crate) fn has_policies(config: &Config) -> bool {
    matches!(config.target(), Target::Tokens(tokens) if tokens.plugin.has_policies())
}

/// Where tokens may lead.
fn token_reach(config: &Config, own: Vec<SocketAddr>) -> TokenReach {
    let Target::Tokens(Tokens { allow, deny, .. }) = config.target() else { return TokenReach::default() };
    TokenReach {
        allow: allow.clone(),
        deny: deny.clone().unwrap_or_default(),
        own,
        supervisor: rustix::process::getpid().as_raw_nonzero().get(),
    }
}

/// The hosts and the pages of the instance.
fn site_terms(config: &Config) -> SiteTerms {
    SiteTerms {
        hosts: config.hosts.clone(),
        origins: config.origins().map(<[_]>::to_vec),
        is_secret: may_hosts_be_tokens(config),
    }
}

/// Whether the host that a client asks for, and the origin of its page with it, may be a token.
fn may_hosts_be_tokens(config: &Config) -> bool {
    let Inquiry { token, head, .. } = inquiry(config);
    head || token.is_some_and(|from| from.has(Carrier::Host))
}

fn auth_terms(plugin: &AuthPlugin, config: &Config) -> AuthTerms {
    match plugin {
        AuthPlugin::Basic(credentials) => AuthTerms::Basic(credentials.clone()),
        AuthPlugin::Users(_) => AuthTerms::Users,
        AuthPlugin::Origin(origins) => {
            AuthTerms::Origin { expected: origins.clone(), is_secret: may_hosts_be_tokens(config) }
        }
        AuthPlugin::CommonName(names) => AuthTerms::CommonName(names.clone()),
        // The original asks all plugins after the lookup. Only its Python classes may depend on that.
        AuthPlugin::External { plugin, .. } => AuthTerms::External {
            link: plugin_link(plugin),
            after_lookup: matches!(plugin, ExternalPlugin::Python(_)),
        },
    }
}

/// How the connector reaches an external plugin.
fn plugin_link(plugin: &ExternalPlugin) -> PluginLink {
    match plugin {
        ExternalPlugin::Program(_) | ExternalPlugin::Python(_) => PluginLink::Program,
        ExternalPlugin::Socket(path) => {
            PluginLink::Lines(service(&TargetAddr::Unix(path.clone()), false, web_authorities))
        }
        ExternalPlugin::Http(HttpUrl { secured, address, authority, path, .. }) => PluginLink::Http {
            service: service(address, *secured, web_authorities),
            authority: authority.clone(),
            path: Secret::new(path.clone()),
        },
    }
}

/// `authorities` are those that may certify the service, if it uses TLS.
fn service(address: &TargetAddr, secured: bool, authorities: fn() -> Vec<Vec<u8>>) -> Service {
    Service { address: address.clone(), authorities: secured.then(authorities) }
}

/// The authorities for services over HTTPS. As in the original, which uses the Python package `requests`, its
/// environment variables take precedence over the system's authorities.
fn web_authorities() -> Vec<Vec<u8>> {
    for name in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
        let Some(path) = env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from) else {
            continue;
        };
        let (file, directory) = if path.is_dir() { (None, Some(&*path)) } else { (Some(&*path), None) };
        let found = rustls_native_certs::load_certs_from_paths(file, directory);
        for error in &found.errors {
            tracing::warn!("${name}: {error}");
        }
        if found.certs.is_empty() {
            tracing::warn!("${name} has no authorities: using those of the system");
            continue;
        }
        return found.certs.into_iter().map(|one| one.to_vec()).collect();
    }
    system_authorities()
}

/// The setup of a token plugin for the connector.
pub(crate) fn token_lookup(plugin: &TokenPlugin) -> TokenLookup {
    let api = |template: &UrlTemplate, answer| {
        let HttpUrl { secured, address, authority, credentials, .. } = &template.url;
        TokenLookup::Api(ApiLookup {
            service: service(address, *secured, web_authorities),
            authority: authority.clone(),
            credentials: credentials.clone(),
            before: Secret::new(template.before.clone()),
            after: Secret::new(template.after.clone()),
            answer,
        })
    };
    match plugin {
        TokenPlugin::Jwt(_) => TokenLookup::Jwt,
        TokenPlugin::SignedLink(_) => TokenLookup::SignedLink,
        TokenPlugin::External { plugin, .. } => TokenLookup::External(plugin_link(plugin)),
        TokenPlugin::TextApi(template) => api(template, ApiAnswer::Text),
        TokenPlugin::JsonApi(template) => api(template, ApiAnswer::Json),
        TokenPlugin::Redis(redis) => TokenLookup::Redis(RedisLookup {
            service: service(&redis.address, redis.secured, system_authorities),
            db: redis.db,
            password: redis.password.clone(),
            namespace: redis.namespace.clone(),
        }),
        TokenPlugin::File(_) | TokenPlugin::ReadOnlyFile(_) => TokenLookup::Lines,
        TokenPlugin::FileName(_) => TokenLookup::FileNames,
        TokenPlugin::Table(_) => TokenLookup::Tables,
        TokenPlugin::SocketDirectory(path) => TokenLookup::SocketDirectory(path.clone()),
    }
}
