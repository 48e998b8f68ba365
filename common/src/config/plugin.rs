//! What is said about plugins that can't be used, whether for tokens or for authentication.

use std::fmt;

use thiserror::Error;

use super::external_plugin::ExternalPluginError;
use super::http_url::UrlError;
use super::redis::RedisSourceError;
use super::value::Rejected;

/// What a plugin is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Targets by token.
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

/// Why a plugin can't be used as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PluginError {
    /// Neither one of the original's, nor written like an external one.
    #[error("there is no {kind} plugin '{}'", .name.escape_debug())]
    Unknown {
        /// What it was to be for.
        kind: Kind,
        /// As it was written.
        name: String,
        /// The names that there are.
        known: &'static [&'static str],
    },
    /// It has no source, or not such a one.
    #[error("the {kind} plugin {name} needs {what}")]
    Source {
        /// What it is for.
        kind: Kind,
        /// Its name.
        name: &'static str,
        /// What its source must be.
        what: &'static str,
    },
    /// The source of an API is no such URL.
    #[error("the source of {0} can't be used: {1}")]
    Url(&'static str, UrlError),
    /// The source of `TokenRedis` makes no sense.
    #[error("the source of TokenRedis can't be used: {0}")]
    Redis(#[from] RedisSourceError),
    /// Meant to be an external one.
    #[error("the {0} plugin can't be used: {1}")]
    External(Kind, ExternalPluginError),
}

impl PluginError {
    /// What to do.
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
