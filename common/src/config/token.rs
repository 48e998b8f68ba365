//! Targets that depend on the client's token, and the plugins that know them.

pub mod redis;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Secret;
use super::http_url::UrlTemplate;
use super::own_plugin::OwnPlugin;
use super::plugin::{Kind, PluginError};
use redis::RedisSource;

/// Where the original has its plugins: names may be written out in full.
const MODULE: &str = "websockify.token_plugins.";

/// The plugins that ask a service over HTTP.
const API_TEXT: &str = "BaseTokenAPI";
const API_JSON: &str = "JSONTokenApi";

/// Sessions go where the client's token leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// What knows the target of a token.
    pub plugin: TokenPlugin,
    /// Where a client says its token.
    pub from: TokenFrom,
    /// How a client without a good token is refused.
    pub refusal: TokenRefusal,
}

/// What knows the target of a token, with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlugin {
    /// A file with lines `token: host:port`, or a folder of such files. Changes are in force for the next
    /// connection.
    File(PathBuf),
    /// The same. The original reads the file once for each process, and has one process for each
    /// connection, so that there is no difference to be seen.
    ReadOnlyFile(PathBuf),
    /// A folder of files whose name is a token and whose content is its target.
    FileName(PathBuf),
    /// A folder of unix sockets whose name is a token.
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
    /// One of the administrator's own.
    Own {
        /// Which.
        plugin: OwnPlugin,
        /// Whatever it makes of it.
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

/// How a client without a good token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TokenRefusal {
    /// With an HTTP status instead of a WebSocket.
    #[default]
    Http,
    /// With a WebSocket that is closed at once, since pages in a browser can read the code and the reason
    /// of a Close frame, and no HTTP status.
    Close,
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

    /// The plugin of a name, bare or with its module, on a source; `absolute` says where a path leads.
    ///
    /// # Errors
    ///
    /// When there is no such plugin, or it has no source.
    pub fn new(
        name: &str,
        source: Option<&OsStr>,
        absolute: impl Fn(&OsStr) -> PathBuf,
    ) -> Result<Self, PluginError> {
        let bare = name.strip_prefix(MODULE).unwrap_or(name);
        let needs = |name, what| PluginError::Source { kind: Kind::Token, name, what };
        let path = |name, what| source.map(&absolute).ok_or(needs(name, what));
        let url = |name| {
            let source = source.ok_or(needs(name, "a URL such as http://localhost/target?token=%s"))?;
            UrlTemplate::parse(&source.to_string_lossy()).map_err(|error| PluginError::Url(name, error))
        };
        let lines = "a file with lines `token: host:port`, or a folder of such files";
        match bare {
            "TokenFile" => path("TokenFile", lines).map(Self::File),
            "ReadOnlyTokenFile" => path("ReadOnlyTokenFile", lines).map(Self::ReadOnlyFile),
            "TokenFileName" => path("TokenFileName", "a folder of files").map(Self::FileName),
            "UnixDomainSocketDirectory" => {
                path("UnixDomainSocketDirectory", "a folder of sockets").map(Self::SocketDirectory)
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
            _ => match OwnPlugin::parse(name, &absolute)
                .map_err(|error| PluginError::Own(Kind::Token, error))?
            {
                Some(plugin) => {
                    let source = source.map(|source| Secret::new(source.to_string_lossy().into_owned()));
                    Ok(Self::Own { plugin, source })
                }
                None => Err(PluginError::Unknown { kind: Kind::Token, name: name.to_owned() }),
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
            Self::Own { plugin, .. } => return Cow::Owned(plugin.to_string()),
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
            Self::Own { source, .. } => OsStr::new(source.as_ref()?.reveal()),
        })
    }

    /// Whether a password stands in the source.
    #[must_use]
    pub fn has_secret_source(&self) -> bool {
        match self {
            Self::Redis(redis) => redis.password.is_some(),
            Self::TextApi(template) | Self::JsonApi(template) => template.url.credentials.is_some(),
            // Who knows.
            Self::Own { source, .. } => source.is_some(),
            _ => false,
        }
    }
}

impl TokenRefusal {
    /// As written in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Close => "close",
        }
    }

    /// From how it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Close].into_iter().find(|one| one.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Every name with a source that it can use.
    const SOURCES: [(&str, &str, &str); 8] = [
        ("TokenFile", "x", "/folder/x"),
        ("ReadOnlyTokenFile", "x", "/folder/x"),
        ("TokenFileName", "x", "/folder/x"),
        ("UnixDomainSocketDirectory", "x", "/folder/x"),
        ("BaseTokenAPI", "http://h/%s", "http://h/%s"),
        ("JSONTokenApi", "https://h:1/%s?a=%%20", "https://h:1/%s?a=%%20"),
        ("JWTTokenApi", "key.pem", "/folder/key.pem"),
        ("TokenRedis", "h:1", "h:1"),
    ];

    fn plugin(name: &str, source: Option<&str>) -> Result<TokenPlugin, PluginError> {
        TokenPlugin::new(name, source.map(OsStr::new), |path| Path::new("/folder").join(path))
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
    fn own_plugins_are_told_from_what_there_never_was() {
        for (name, shown) in [("my.module.Class", "my.module.Class"), ("exec:x", "exec:/folder/x")] {
            let own = plugin(name, Some("hush")).unwrap();
            assert_eq!((own.name().as_ref(), own.source()), (shown, Some(OsStr::new("hush"))));
            assert!(own.has_secret_source() && !format!("{own:?}").contains("hush"));
            assert_eq!(plugin(name, None).unwrap().source(), None);
        }
        assert!(matches!(plugin("exec:", None), Err(PluginError::Own(Kind::Token, _))));
        for name in ["tokenfile", "BasePlugin", ""] {
            let error = PluginError::Unknown { kind: Kind::Token, name: name.to_owned() };
            assert_eq!(plugin(name, Some("x")), Err(error));
        }
    }
}
