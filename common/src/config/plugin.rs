//! Errors of plugins, for tokens or for authentication.

use std::fmt;

use thiserror::Error;

use super::external_plugin::ExternalPluginError;
use super::http_url::UrlError;
use super::redis::RedisSourceError;
use super::value::Rejected;

/// Purpose of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Lookup of targets by token.
    Token,
    /// Authentication.
    Auth,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "token",
            Self::Auth => "auth",
        })
    }
}

/// The reason why a plugin can't be used as configured.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PluginError {
    /// The name is neither that of a built-in plugin nor that of an external one.
    #[error("there is no {kind} plugin '{}'", .name.escape_debug())]
    Unknown {
        /// Purpose of the plugin.
        kind: Kind,
        /// The name as given.
        name: String,
        /// Names of the built-in plugins.
        known: &'static [&'static str],
    },
    /// The plugin has no source, or an unsuitable one.
    #[error("the {kind} plugin {name} needs {what}")]
    Source {
        /// Purpose of the plugin.
        kind: Kind,
        /// Name of the plugin.
        name: &'static str,
        /// What the source must be.
        what: &'static str,
    },
    /// The source of an API is not a suitable URL.
    #[error("the source of {0} can't be used: {1}")]
    Url(&'static str, UrlError),
    /// The source of `TokenRedis` is invalid.
    #[error("the source of TokenRedis can't be used: {0}")]
    Redis(#[from] RedisSourceError),
    /// The name of an external plugin is invalid.
    #[error("the {0} plugin can't be used: {1}")]
    External(Kind, ExternalPluginError),
}

impl PluginError {
    /// Instructions for the administrator.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Unknown { known, .. } => format!("the plugins are {}", known.join(", ")),
            Self::Source { .. } => "name it as the source of the plugin".to_owned(),
            Self::External(..) => {
                "write it like exec:/path, unix:/path, http://localhost/path or module.Class".to_owned()
            }
            Self::Url(..) => "write it like http://localhost/target?token=%s".to_owned(),
            Self::Redis(_) => {
                "write it like host:port:database:password:namespace; what is not needed may be \
                               left out"
                    .to_owned()
            }
        }
    }
}

impl From<PluginError> for Rejected {
    fn from(error: PluginError) -> Self {
        Self::at("plugin", error.to_string(), error.help())
    }
}
