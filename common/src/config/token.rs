//! Targets by token, and the plugins that provide them.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use serde::{Deserialize, Serialize};

use super::carrier::{Carrier, TokenFrom, TokenPath};
use super::duration::WithUnitOrOff;
use super::external_plugin::ExternalPlugin;
use super::http_url::UrlTemplate;
use super::path::{FilePath, resolve};
use super::plugin::{Kind, PluginError};
use super::redis::RedisSource;
use super::secret::{HIDDEN, Secret, SecretFile};
use super::value::{Name, OneOrMany, Rejected, words};
use crate::destinations::Destinations;

/// The original's module of plugins. Names may be given with it.
const MODULE: &str = "websockify.token_plugins.";

/// Names of the plugins that ask an HTTP service.
const API_TEXT: &str = "BaseTokenAPI";
const API_JSON: &str = "JSONTokenApi";

/// In place of `target`: connects each client to the target that its token names.
#[derive(Clone, Debug, Deserialize, Serialize, clap::Args)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(transform = super::tests::schema::source))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Target")]
pub(super) struct TokenTable {
    /// Look up the target by the client's token: `TokenFile`, `ReadOnlyTokenFile`, `TokenFileName`,
    /// `UnixDomainSocketDirectory`, `BaseTokenAPI`, `JSONTokenApi`, `JWTTokenApi`, `TokenRedis`, `TokenTable`,
    /// `SignedLink`, or an external plugin.
    ///
    /// Clients send the token in the path, as in `/websockify?token=abc`. Clients without a valid token are
    /// refused.
    ///
    /// `TokenFile` and `ReadOnlyTokenFile` read a file with lines `token: host:port` or `token:
    /// unix_socket:/path`, or a directory of such files. `TokenFileName` reads a directory of files, each
    /// named by its token and containing the target. `TokenTable` reads a TOML file, or a directory of such files,
    /// with a table for each token, which says where it leads, for how long and to whom. `UnixDomainSocketDirectory` uses a directory of unix
    /// sockets, each named by its token. `JWTTokenApi` verifies JSON Web Tokens with the key in a file (PEM,
    /// or a shared secret in base64url); their claims `host` and `port` are the target. `SignedLink` accepts the links that
    /// `websockifyctl ticket` makes, with the same key file; by default that is the instance's own,
    /// `/var/lib/websockify/NAME/ticket.key`. Changes of these
    /// files take effect with the next connection. `TokenRedis` queries a Redis server, given as
    /// `host:port:database:password:namespace`. `BaseTokenAPI` and `JSONTokenApi` query a URL, in which `%s`
    /// is replaced by the token; the service answers `host:port`, or JSON with `host` and `port`. External
    /// plugins are `exec:/path`, `unix:/path` and `http://...` for programs and services of your own, and
    /// `module.Class` for a Python class written for the original.
    #[arg(id = "token.plugin", long = "token-plugin", value_name = "NAME")]
    #[arg(default_value = "", hide_default_value = true)]
    #[cfg_attr(test, schemars(example = &"TokenFile"))]
    pub(super) plugin: Name,
    /// File, directory, URL or server that the plugin uses.
    ///
    /// In a configuration file either this or `source-file` is required, except for `SignedLink` and external plugins.
    #[arg(id = "token.source", long = "token-source", value_name = "ARG")]
    #[arg(value_parser = OsStringValueParser::new().map(PathBuf::from))]
    #[cfg_attr(test, schemars(example = &"vnc.tokens"))]
    pub(super) source: Option<PathBuf>,
    /// A file that contains the source and nothing else, for a source with a password.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"vnc.source"))]
    pub(super) source_file: Option<FilePath>,
    /// User to run the plugin as, if it is a program or a Python class and the service is started as root.
    ///
    /// Default: `websockify-plugin` if that user exists, else the user of the other processes.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"websockify-plugin"))]
    pub(super) user: Option<Name>,
    /// Take the token from the Host header, without its port, instead of the path.
    #[arg(id = "token.host", long = "host-token", hide_short_help = true)]
    #[serde(default)]
    pub(super) host: bool,
    /// Parts of the request that may contain the token: `"query"`, the default, `"host"`, `"path"`, `"cookie"`,
    /// `"bearer"` or `"subprotocol"`, or a list of them.
    ///
    /// `"query"` is the parameter `token` of the path, `"host"` the Host header without its port, `"path"` a segment of
    /// the path (`path` says which one), `"cookie"` the cookie `websockify-token`, `"bearer"` the header `Authorization:
    /// Bearer`, and `"subprotocol"` a sub-protocol `token.…` that is offered beside `binary`. With `"cookie"`, a page
    /// that is asked for with the parameter `token` sets the cookie, and the browser is sent to the same page without
    /// it. A request with two different tokens is refused.
    #[arg(skip = query())]
    #[serde(default = "query", with = "OneOrMany::<Carrier>")]
    #[cfg_attr(test, schemars(example = &"cookie"))]
    pub(super) from: Vec<Carrier>,
    /// Where the token stands in the path of sessions, with `"path"` in `from`, such as `"/vnc/{token}"`.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"/vnc/{token}"))]
    pub(super) path: Option<TokenPath>,
    /// How to refuse clients without a valid token.
    ///
    /// `"http"` responds with status 403. `"close"` opens a WebSocket and closes it at once with 1008 and the
    /// reason, which pages in a browser can read.
    #[arg(skip)]
    #[serde(default)]
    pub(super) refusal: TokenRefusal,
    /// File with the key of the hashes that stand for tokens in session records, for machines whose records are
    /// compared.
    ///
    /// One key or two, each a line as `openssl rand -hex 32` prints it; the first is used. It is read at the start and
    /// by a reload. By default each start makes a key of its own.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"/etc/websockify/token-hashes.keys"))]
    pub(super) hash_keys: Option<FilePath>,
    /// Asks again about the tokens of open sessions after this time, and ends sessions that their tokens no longer allow.
    ///
    /// For `TokenRedis`, `BaseTokenAPI`, `JSONTokenApi` and external plugins. Each token is asked about once, however many
    /// sessions it has. A source that can't be asked ends no session. Files of `TokenTable` are watched without this key.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"30s"))]
    #[serde(default, with = "WithUnitOrOff")]
    pub(super) recheck: Option<Duration>,
    /// Where tokens may lead: networks with ports, unix sockets, and directories of unix sockets. Default: anywhere.
    ///
    /// What counts is the address of the connection, after names were resolved. Write `"10.0.0.0/8:5900-5999"`,
    /// `"[2001:db8::/32]:5900"`, `"192.0.2.7"` for all ports, `"unix:/run/vm/"` for all sockets beneath a directory, or
    /// `"unix:/run/vm.sock"`. Link-local addresses, those by which clouds serve metadata of machines, and those at
    /// which this instance listens itself must be named here, not just contained in a larger network.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"10.0.0.0/8:5900-5999"))]
    pub(super) allow: Option<Destinations>,
    /// Where tokens may not lead, written as in `allow`. It counts before `allow`.
    #[arg(skip)]
    #[serde(default)]
    #[cfg_attr(test, schemars(example = &"10.0.0.1"))]
    pub(super) deny: Option<Destinations>,
}

/// The default of `from`.
pub(super) fn query() -> Vec<Carrier> {
    vec![Carrier::default()]
}

/// The configured token plugin.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "TokenTable", into = "TokenTable")]
pub struct Tokens {
    /// The plugin and its source.
    pub plugin: TokenPlugin,
    /// The file that the source was read from, if it was given by `source-file`.
    pub source_file: Option<FilePath>,
    /// User to run an external plugin as, if configured.
    pub user: Option<Name>,
    /// Parts of the request that may contain the token.
    pub from: TokenFrom,
    /// How clients without a valid token are refused.
    pub refusal: TokenRefusal,
    /// The file with the key of the hashes of tokens, if configured.
    pub hash_keys: Option<FilePath>,
    /// Interval at which the tokens of open sessions are asked about again.
    pub recheck: Option<Duration>,
    /// Where tokens may lead; `None` for anywhere.
    pub allow: Option<Destinations>,
    /// Where they may not lead in any case.
    pub deny: Option<Destinations>,
}

impl TryFrom<TokenTable> for Tokens {
    type Error = Rejected;

    fn try_from(table: TokenTable) -> Result<Self, Rejected> {
        let TokenTable {
            plugin,
            source,
            source_file,
            user,
            host,
            from,
            path,
            refusal,
            hash_keys,
            recheck,
            allow,
            deny,
        } = table;
        if source.is_some() && source_file.is_some() {
            return Err(Rejected::two_sources());
        }
        let secret = SecretFile::source(source_file.as_ref())?;
        let source =
            source.as_deref().map(Path::as_os_str).or(secret.as_ref().map(|text| OsStr::new(text.reveal())));
        let source = source.filter(|source| !source.is_empty());
        let plugin = TokenPlugin::new(&plugin, source)?;
        let external = match &plugin {
            TokenPlugin::External { plugin, .. } => Some(plugin),
            _ => None,
        };
        ExternalPlugin::check_user(external, user.as_ref())?;
        let from = TokenFrom::new(from, path, host)?;
        if recheck.is_some() && !plugin.can_be_rechecked() {
            let text = format!("`recheck` can't be used with `{}`", plugin.name());
            let help = "leave it out: only Redis, services and external plugins can be asked again";
            return Err(Rejected::at("recheck", text, help));
        }
        Ok(Self { plugin, source_file, user, from, refusal, hash_keys, recheck, allow, deny })
    }
}

impl From<Tokens> for TokenTable {
    fn from(tokens: Tokens) -> Self {
        let Tokens { plugin, source_file, user, from, refusal, hash_keys, recheck, allow, deny } = tokens;
        let source = match plugin.source() {
            _ if source_file.is_some() => None,
            Some(_) if plugin.has_secret_source() => Some(PathBuf::from(HIDDEN)),
            source => source.map(PathBuf::from),
        };
        Self {
            plugin: Name::from(&*plugin.name()),
            source,
            source_file,
            user,
            host: false,
            from: from.carriers().to_vec(),
            path: from.path().cloned(),
            refusal,
            hash_keys,
            recheck,
            allow,
            deny,
        }
    }
}

/// A token plugin with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlugin {
    /// A file with lines `token: host:port`, or a directory of such files. Changes take effect with the next
    /// connection.
    File(PathBuf),
    /// Equivalent to `File`. The original reads this file once for each process, and starts a process for
    /// each connection.
    ReadOnlyFile(PathBuf),
    /// A directory of files, each named by its token and containing the target.
    FileName(PathBuf),
    /// A TOML file with a table for each token, or a directory of such files.
    Table(PathBuf),
    /// A directory of unix sockets, each named by its token.
    SocketDirectory(PathBuf),
    /// A service that answers `host:port`.
    TextApi(UrlTemplate),
    /// A service that answers with JSON.
    JsonApi(UrlTemplate),
    /// Signed tokens that contain their target. The file contains the key that verifies them; a change takes
    /// effect with the next connection.
    Jwt(PathBuf),
    /// Links of `websockifyctl ticket`, with the file of their keys; `None` for the instance's own. A change takes effect
    /// with the next connection.
    SignedLink(Option<PathBuf>),
    /// Values stored in Redis.
    Redis(RedisSource),
    /// An external plugin.
    External {
        /// How to reach the plugin.
        plugin: ExternalPlugin,
        /// The source, which is passed to the plugin unchanged.
        source: Option<Secret>,
    },
}

words! {
    /// How clients without a valid token are refused.
    pub enum TokenRefusal {
        /// With an HTTP status instead of a WebSocket.
        #[default]
        Http = "http",
        /// With a WebSocket that is closed at once. Scripts in a browser can read the code and the reason of
        /// a Close frame, but not an HTTP status.
        Close = "close",
    }
}

impl TokenPlugin {
    /// Whether the connector can ask again about a token, at any time and without a client.
    #[must_use]
    pub fn can_be_rechecked(&self) -> bool {
        match self {
            Self::TextApi(_) | Self::JsonApi(_) | Self::Redis(_) | Self::External { .. } => true,
            Self::File(_)
            | Self::ReadOnlyFile(_)
            | Self::FileName(_)
            | Self::Table(_)
            | Self::SocketDirectory(_)
            | Self::Jwt(_)
            | Self::SignedLink(_) => false,
        }
    }

    /// Names of the built-in plugins, as in the original but for `TokenTable` and `SignedLink`.
    pub const NAMES: [&'static str; 10] = [
        "TokenFile",
        "ReadOnlyTokenFile",
        "TokenFileName",
        "UnixDomainSocketDirectory",
        API_TEXT,
        API_JSON,
        "JWTTokenApi",
        "TokenRedis",
        "TokenTable",
        "SignedLink",
    ];

    /// Creates the plugin `name`, given with or without its module, from its source. Relative paths start at
    /// the base directory of the configuration that is being read.
    ///
    /// # Errors
    ///
    /// Fails if there is no such plugin, or if its source is missing or invalid.
    pub fn new(name: &str, source: Option<&OsStr>) -> Result<Self, PluginError> {
        let bare = name.strip_prefix(MODULE).unwrap_or(name);
        let needs = |name, what| PluginError::Source { kind: Kind::Token, name, what };
        let path = |name, what| source.map(resolve).ok_or(needs(name, what));
        let url = |name| {
            let source = source.ok_or(needs(name, "a URL such as http://localhost/target?token=%s"))?;
            UrlTemplate::parse(&source.to_string_lossy()).map_err(|error| PluginError::Url(name, error))
        };
        let lines = "a file with lines `token: host:port`, or a directory of such files";
        match bare {
            "TokenFile" => path("TokenFile", lines).map(Self::File),
            "ReadOnlyTokenFile" => path("ReadOnlyTokenFile", lines).map(Self::ReadOnlyFile),
            "TokenTable" => {
                path("TokenTable", "a TOML file with a table for each token, or a directory of such files")
                    .map(Self::Table)
            }
            "TokenFileName" => path("TokenFileName", "a directory of files").map(Self::FileName),
            "UnixDomainSocketDirectory" => {
                path("UnixDomainSocketDirectory", "a directory of sockets").map(Self::SocketDirectory)
            }
            API_TEXT => url(API_TEXT).map(Self::TextApi),
            API_JSON => url(API_JSON).map(Self::JsonApi),
            "JWTTokenApi" => path("JWTTokenApi", "a file with a key in PEM, or a shared secret in base64url")
                .map(Self::Jwt),
            "SignedLink" => Ok(Self::SignedLink(source.map(resolve))),
            "TokenRedis" => {
                let source = source
                    .ok_or(needs("TokenRedis", "host:port:database:password:namespace, or a part of it"))?;
                Ok(Self::Redis(RedisSource::parse(&source.to_string_lossy())?))
            }
            _ => match ExternalPlugin::parse(name)
                .map_err(|error| PluginError::External(Kind::Token, error))?
            {
                Some(plugin) => {
                    let source = source.map(|source| Secret::new(source.to_string_lossy().into_owned()));
                    Ok(Self::External { plugin, source })
                }
                None => Err(PluginError::Unknown {
                    kind: Kind::Token,
                    name: name.to_owned(),
                    known: &Self::NAMES,
                }),
            },
        }
    }

    /// Name of the plugin.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::File(_) => "TokenFile",
            Self::ReadOnlyFile(_) => "ReadOnlyTokenFile",
            Self::FileName(_) => "TokenFileName",
            Self::Table(_) => "TokenTable",
            Self::SocketDirectory(_) => "UnixDomainSocketDirectory",
            Self::TextApi(_) => API_TEXT,
            Self::JsonApi(_) => API_JSON,
            Self::Jwt(_) => "JWTTokenApi",
            Self::SignedLink(_) => "SignedLink",
            Self::Redis(_) => "TokenRedis",
            Self::External { plugin, .. } => return Cow::Owned(plugin.to_string()),
        })
    }

    /// The source of the plugin.
    #[must_use]
    pub fn source(&self) -> Option<&OsStr> {
        Some(match self {
            Self::File(path)
            | Self::ReadOnlyFile(path)
            | Self::FileName(path)
            | Self::Table(path)
            | Self::SocketDirectory(path)
            | Self::Jwt(path) => path.as_os_str(),
            Self::SignedLink(path) => path.as_deref()?.as_os_str(),
            Self::TextApi(template) | Self::JsonApi(template) => OsStr::new(template.text.reveal()),
            Self::Redis(redis) => OsStr::new(redis.text().reveal()),
            Self::External { source, .. } => OsStr::new(source.as_ref()?.reveal()),
        })
    }

    /// Whether tokens can have policies, which may depend on the origin of a page.
    #[must_use]
    pub fn has_policies(&self) -> bool {
        match self {
            Self::Table(_)
            | Self::SignedLink(_)
            | Self::JsonApi(_)
            | Self::Jwt(_)
            | Self::Redis(_)
            | Self::External { .. } => true,
            Self::File(_)
            | Self::ReadOnlyFile(_)
            | Self::FileName(_)
            | Self::SocketDirectory(_)
            | Self::TextApi(_) => false,
        }
    }

    /// Whether the source contains a password.
    #[must_use]
    pub fn has_secret_source(&self) -> bool {
        match self {
            Self::Redis(redis) => redis.password.is_some(),
            Self::TextApi(template) | Self::JsonApi(template) => template.url.credentials.is_some(),
            Self::External { source, .. } => source.is_some(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::path::relative_to;

    /// Every built-in plugin with a valid source.
    const SOURCES: [(&str, &str, &str); 10] = [
        ("TokenFile", "x", "/directory/x"),
        ("ReadOnlyTokenFile", "x", "/directory/x"),
        ("TokenFileName", "x", "/directory/x"),
        ("UnixDomainSocketDirectory", "x", "/directory/x"),
        ("BaseTokenAPI", "http://h/%s", "http://h/%s"),
        ("JSONTokenApi", "https://h:1/%s?a=%%20", "https://h:1/%s?a=%%20"),
        ("JWTTokenApi", "key.pem", "/directory/key.pem"),
        ("TokenRedis", "h:1", "h:1"),
        ("TokenTable", "x", "/directory/x"),
        ("SignedLink", "x", "/directory/x"),
    ];

    fn plugin(name: &str, source: Option<&str>) -> Result<TokenPlugin, PluginError> {
        relative_to(Path::new("/directory"), || TokenPlugin::new(name, source.map(OsStr::new)))
    }

    #[test]
    fn names_are_those_of_the_original_bare_or_with_their_module() {
        assert_eq!(SOURCES.map(|(name, ..)| name), TokenPlugin::NAMES);
        for (name, source, shown) in SOURCES {
            let bare = plugin(name, Some(source)).unwrap();
            assert_eq!((bare.name().as_ref(), bare.source()), (name, Some(OsStr::new(shown))));
            assert_eq!(plugin(&format!("websockify.token_plugins.{name}"), Some(source)), Ok(bare));
            match plugin(name, None) {
                Err(PluginError::Source { name: needs, .. }) => assert_eq!(needs, name),
                other => assert_eq!(other, Ok(TokenPlugin::SignedLink(None)), "{name}"),
            }
        }
    }

    #[test]
    fn an_invalid_source_is_reported_without_its_content() {
        for (name, source) in [("TokenRedis", "h:hush"), ("JSONTokenApi", "http://h/hush")] {
            let error = plugin(name, Some(source)).unwrap_err();
            assert!(error.to_string().contains(name) && !error.to_string().contains("hush"), "{error}");
            assert!(!error.help().is_empty());
        }
    }

    #[test]
    fn external_plugins_are_distinguished_from_unknown_names() {
        for (name, shown) in [("my.module.Class", "my.module.Class"), ("exec:x", "exec:/directory/x")] {
            let external = plugin(name, Some("hush")).unwrap();
            assert_eq!((external.name().as_ref(), external.source()), (shown, Some(OsStr::new("hush"))));
            assert!(external.has_secret_source() && !format!("{external:?}").contains("hush"));
            assert_eq!(plugin(name, None).unwrap().source(), None);
        }
        assert!(matches!(plugin("exec:", None), Err(PluginError::External(Kind::Token, _))));
        for name in ["tokenfile", "BasePlugin", ""] {
            let known = &TokenPlugin::NAMES;
            let error = PluginError::Unknown { kind: Kind::Token, name: name.to_owned(), known };
            assert_eq!(plugin(name, Some("x")), Err(error));
        }
    }
}
