//! Targets that depend on the client's token, and the plugins that know them.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use serde::{Deserialize, Serialize};

use super::external_plugin::ExternalPlugin;
use super::http_url::UrlTemplate;
use super::path::{FilePath, resolve};
use super::plugin::{Kind, PluginError};
use super::redis::RedisSource;
use super::secret::{HIDDEN, Secret, SecretFile};
use super::value::{Name, Rejected, words};

/// Where the original has its plugins: names may be written out in full.
const MODULE: &str = "websockify.token_plugins.";

/// The plugins that ask a service over HTTP.
const API_TEXT: &str = "BaseTokenAPI";
const API_JSON: &str = "JSONTokenApi";

/// In place of `target`: each client is connected to where its token leads.
#[derive(Clone, Debug, Deserialize, Serialize, clap::Args)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(transform = super::tests::schema::source))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Target")]
pub(super) struct TokenTable {
    /// Take the target from the client's token: `TokenFile`, `ReadOnlyTokenFile`, `TokenFileName`,
    /// `UnixDomainSocketDirectory`, `BaseTokenAPI`, `JSONTokenApi`, `JWTTokenApi`, `TokenRedis`, or an external plugin.
    ///
    /// A client says its token in the path, as in `/websockify?token=abc`; without a good one it is refused.
    ///
    /// `TokenFile` and `ReadOnlyTokenFile` take a file with lines `token: host:port` or
    /// `token: unix_socket:/path`, or a directory of such files; `TokenFileName` a directory of files whose name is a
    /// token and whose content is its target; `UnixDomainSocketDirectory` a directory of unix sockets whose name is a
    /// token; `JWTTokenApi` a file with the key of JSON Web Tokens, in PEM or as a shared secret in base64url, whose
    /// claims `host` and `port` say where they lead. Changes are in force for the next connection. `TokenRedis` takes
    /// a Redis server, as in `host:port:database:password:namespace`; `BaseTokenAPI` and `JSONTokenApi` take a URL
    /// with `%s` where the token goes, of a service that answers `host:port` or JSON with `host` and `port`.
    /// `exec:/path`, `unix:/path` and `http://...` are programs and services of your own, `module.Class` a class that
    /// was written for the original.
    #[arg(id = "token.plugin", long = "token-plugin", value_name = "NAME")]
    #[arg(default_value = "", hide_default_value = true)]
    #[cfg_attr(test, schemars(example = &"TokenFile"))]
    pub(super) plugin: Name,
    /// File, directory, URL or server of the plugin.
    ///
    /// In a configuration file it or `source-file` must be there, but for an external plugin.
    #[arg(id = "token.source", long = "token-source", value_name = "ARG")]
    #[arg(value_parser = OsStringValueParser::new().map(PathBuf::from))]
    #[cfg_attr(test, schemars(example = &"vnc.tokens"))]
    pub(super) source: Option<PathBuf>,
    /// A file that holds the source and nothing else, if there is a password in it.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"vnc.source"))]
    pub(super) source_file: Option<FilePath>,
    /// User to run a plugin that is a program or a class of Python as, when started as root.
    ///
    /// Default: `websockify-plugin` if there is such a user, else that of the other processes.
    #[arg(skip)]
    #[cfg_attr(test, schemars(example = &"websockify-plugin"))]
    pub(super) user: Option<Name>,
    /// Take the token from the Host header without its port instead of the path.
    #[arg(id = "token.host", long = "host-token", hide_short_help = true)]
    #[serde(default)]
    pub(super) host: bool,
    /// How clients without a good token are refused.
    ///
    /// `"http"` answers with the status 403, `"close"` with a WebSocket that is closed at once with 1008 and the
    /// reason, which pages in a browser can read.
    #[arg(skip)]
    #[serde(default)]
    pub(super) refusal: TokenRefusal,
}

/// Where the tokens of clients lead.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "TokenTable", into = "TokenTable")]
pub struct Tokens {
    /// What knows the target of a token.
    pub plugin: TokenPlugin,
    /// The file that the plugin's source was read from, if it was.
    pub source_file: Option<FilePath>,
    /// The user that a plugin which is started runs as, if that is said.
    pub user: Option<Name>,
    /// Where a client says its token.
    pub from: TokenFrom,
    /// How a client without a good token is refused.
    pub refusal: TokenRefusal,
}

impl TryFrom<TokenTable> for Tokens {
    type Error = Rejected;

    fn try_from(table: TokenTable) -> Result<Self, Rejected> {
        let TokenTable { plugin, source, source_file, user, host, refusal } = table;
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
        let from = if host { TokenFrom::Host } else { TokenFrom::Path };
        Ok(Self { plugin, source_file, user, from, refusal })
    }
}

impl From<Tokens> for TokenTable {
    fn from(tokens: Tokens) -> Self {
        let Tokens { plugin, source_file, user, from, refusal } = tokens;
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
            host: from == TokenFrom::Host,
            refusal,
        }
    }
}

/// What knows the target of a token, with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlugin {
    /// A file with lines `token: host:port`, or a directory of such files. Changes are in force for the next
    /// connection.
    File(PathBuf),
    /// The same. The original reads the file once for each process, and has one process for each
    /// connection, so that there is no difference to be seen.
    ReadOnlyFile(PathBuf),
    /// A directory of files whose name is a token and whose content is its target.
    FileName(PathBuf),
    /// A directory of unix sockets whose name is a token.
    SocketDirectory(PathBuf),
    /// A service that answers `host:port`.
    TextApi(UrlTemplate),
    /// A service that answers with JSON.
    JsonApi(UrlTemplate),
    /// Tokens say themselves where they lead; this file has the key that they are made with. A change is in
    /// force for the next connection.
    Jwt(PathBuf),
    /// Values in Redis.
    Redis(RedisSource),
    /// One that the administrator provides.
    External {
        /// How it is reached.
        plugin: ExternalPlugin,
        /// Handed to it as it is.
        source: Option<Secret>,
    },
}

/// Where a client says its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TokenFrom {
    /// The parameter `token` of the path.
    #[default]
    Path,
    /// The `Host` header without its port (`--host-token`).
    Host,
}

words! {
    /// How a client without a good token is refused.
    pub enum TokenRefusal {
        /// With an HTTP status instead of a WebSocket.
        #[default]
        Http = "http",
        /// With a WebSocket that is closed at once, since pages in a browser can read the code and the reason
        /// of a Close frame, and no HTTP status.
        Close = "close",
    }
}

impl TokenPlugin {
    /// The names, as in the original.
    pub const NAMES: [&'static str; 8] = [
        "TokenFile",
        "ReadOnlyTokenFile",
        "TokenFileName",
        "UnixDomainSocketDirectory",
        API_TEXT,
        API_JSON,
        "JWTTokenApi",
        "TokenRedis",
    ];

    /// The plugin of a name, bare or with its module, on a source. Relative paths start where those of the
    /// configuration do that is being read.
    ///
    /// # Errors
    ///
    /// When there is no such plugin, or it has no source.
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
            "TokenFileName" => path("TokenFileName", "a directory of files").map(Self::FileName),
            "UnixDomainSocketDirectory" => {
                path("UnixDomainSocketDirectory", "a directory of sockets").map(Self::SocketDirectory)
            }
            API_TEXT => url(API_TEXT).map(Self::TextApi),
            API_JSON => url(API_JSON).map(Self::JsonApi),
            "JWTTokenApi" => path("JWTTokenApi", "a file with a key in PEM, or a shared secret in base64url")
                .map(Self::Jwt),
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

    /// Its name, as in the original.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::File(_) => "TokenFile",
            Self::ReadOnlyFile(_) => "ReadOnlyTokenFile",
            Self::FileName(_) => "TokenFileName",
            Self::SocketDirectory(_) => "UnixDomainSocketDirectory",
            Self::TextApi(_) => API_TEXT,
            Self::JsonApi(_) => API_JSON,
            Self::Jwt(_) => "JWTTokenApi",
            Self::Redis(_) => "TokenRedis",
            Self::External { plugin, .. } => return Cow::Owned(plugin.to_string()),
        })
    }

    /// Where it looks.
    #[must_use]
    pub fn source(&self) -> Option<&OsStr> {
        Some(match self {
            Self::File(path)
            | Self::ReadOnlyFile(path)
            | Self::FileName(path)
            | Self::SocketDirectory(path)
            | Self::Jwt(path) => path.as_os_str(),
            Self::TextApi(template) | Self::JsonApi(template) => OsStr::new(template.text.reveal()),
            Self::Redis(redis) => OsStr::new(redis.text().reveal()),
            Self::External { source, .. } => OsStr::new(source.as_ref()?.reveal()),
        })
    }

    /// Whether a password stands in the source.
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

    /// Every name with a source that it can use.
    const SOURCES: [(&str, &str, &str); 8] = [
        ("TokenFile", "x", "/directory/x"),
        ("ReadOnlyTokenFile", "x", "/directory/x"),
        ("TokenFileName", "x", "/directory/x"),
        ("UnixDomainSocketDirectory", "x", "/directory/x"),
        ("BaseTokenAPI", "http://h/%s", "http://h/%s"),
        ("JSONTokenApi", "https://h:1/%s?a=%%20", "https://h:1/%s?a=%%20"),
        ("JWTTokenApi", "key.pem", "/directory/key.pem"),
        ("TokenRedis", "h:1", "h:1"),
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
            assert!(matches!(
                plugin(name, None),
                Err(PluginError::Source { name: needs, .. }) if needs == name
            ));
        }
    }

    #[test]
    fn a_source_that_makes_no_sense_is_told_without_repeating_it() {
        for (name, source) in [("TokenRedis", "h:hush"), ("JSONTokenApi", "http://h/hush")] {
            let error = plugin(name, Some(source)).unwrap_err();
            assert!(error.to_string().contains(name) && !error.to_string().contains("hush"), "{error}");
            assert!(!error.help().is_empty());
        }
    }

    #[test]
    fn external_plugins_are_told_from_what_there_never_was() {
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
