//! What is said about plugins that can't be used, whether for tokens or for authentication.

use std::fmt;

use thiserror::Error;

use super::http_url::UrlError;
use super::own_plugin::OwnPluginError;
use super::token::redis::RedisSourceError;

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
    /// Neither one of the original's, nor written like one of the administrator's own.
    #[error("there is no {kind} plugin '{}'", .name.escape_debug())]
    Unknown {
        /// What it was to be for.
        kind: Kind,
        /// As it was written.
        name: String,
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
    /// Meant to be one of the administrator's own.
    #[error("the {0} plugin can't be used: {1}")]
    Own(Kind, OwnPluginError),
}

impl PluginError {
    /// What to do.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Unknown { kind: Kind::Token, .. } => {
                format!("the plugins are {}", super::token::TokenPlugin::NAMES.join(", "))
            }
            Self::Unknown { kind: Kind::Auth, .. } => {
                format!("the plugins are {}", super::auth::AuthPlugin::NAMES.join(", "))
            }
            Self::Source { .. } => "name it as the source of the plugin".to_owned(),
            Self::Own(..) => {
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
