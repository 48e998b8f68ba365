//! Targets that depend on the client's token, and the plugins that know them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::plugin::{Kind, PluginError};
use serde::{Deserialize, Serialize};

/// Where the original has its plugins: names may be written out in full.
const MODULE: &str = "websockify.token_plugins.";

/// Plugins of the original that this version doesn't have yet.
const LATER: [&str; 4] = ["BaseTokenAPI", "JSONTokenApi", "JWTTokenApi", "TokenRedis"];

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
    pub const NAMES: [&'static str; 4] =
        ["TokenFile", "ReadOnlyTokenFile", "TokenFileName", "UnixDomainSocketDirectory"];

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
        let path =
            |name, what| source.map(&absolute).ok_or(PluginError::Source { kind: Kind::Token, name, what });
        let lines = "a file with lines `token: host:port`, or a folder of such files";
        match bare {
            "TokenFile" => path("TokenFile", lines).map(Self::File),
            "ReadOnlyTokenFile" => path("ReadOnlyTokenFile", lines).map(Self::ReadOnlyFile),
            "TokenFileName" => path("TokenFileName", "a folder of files").map(Self::FileName),
            "UnixDomainSocketDirectory" => {
                path("UnixDomainSocketDirectory", "a folder of sockets").map(Self::SocketDirectory)
            }
            _ if LATER.contains(&bare) || bare.contains(['.', ':']) => {
                Err(PluginError::NotYet { kind: Kind::Token, name: name.to_owned() })
            }
            _ => Err(PluginError::Unknown { kind: Kind::Token, name: name.to_owned() }),
        }
    }

    /// Its name, as in the original.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "TokenFile",
            Self::ReadOnlyFile(_) => "ReadOnlyTokenFile",
            Self::FileName(_) => "TokenFileName",
            Self::SocketDirectory(_) => "UnixDomainSocketDirectory",
        }
    }

    /// Where it looks.
    #[must_use]
    pub fn source(&self) -> &Path {
        match self {
            Self::File(path)
            | Self::ReadOnlyFile(path)
            | Self::FileName(path)
            | Self::SocketDirectory(path) => path,
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
    use super::*;

    fn plugin(name: &str) -> Result<TokenPlugin, PluginError> {
        TokenPlugin::new(name, Some(OsStr::new("x")), |path| Path::new("/folder").join(path))
    }

    #[test]
    fn names_are_those_of_the_original_bare_or_with_their_module() {
        for name in TokenPlugin::NAMES {
            let bare = plugin(name).unwrap();
            assert_eq!((bare.name(), bare.source()), (name, Path::new("/folder/x")));
            assert_eq!(plugin(&format!("websockify.token_plugins.{name}")), Ok(bare));
            assert!(matches!(
                TokenPlugin::new(name, None, |path| path.into()),
                Err(PluginError::Source { name: needs, .. }) if needs == name
            ));
        }
    }

    #[test]
    fn what_is_to_come_is_told_from_what_there_never_was() {
        for name in
            ["JWTTokenApi", "websockify.token_plugins.TokenRedis", "my.module.Class", "exec:/x", "http://x/"]
        {
            assert_eq!(plugin(name), Err(PluginError::NotYet { kind: Kind::Token, name: name.to_owned() }));
        }
        for name in ["tokenfile", "BasePlugin", ""] {
            assert_eq!(plugin(name), Err(PluginError::Unknown { kind: Kind::Token, name: name.to_owned() }));
        }
    }
}
