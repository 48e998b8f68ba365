//! What knows the target of a token: one file for each kind.
//!
//! A plugin is asked once for each client that asks for a WebSocket. What it says counts; what it can't say
//! costs that client alone. Tokens are never logged.

mod address;
mod api;
mod error;
mod jwt;
mod own;
mod redis;
mod socket_directory;
mod table;

use common::ipc::setup::{LOOKUP_DEADLINE, TokenFiles, TokenLookup};

use super::endpoint::Endpoint;
use super::grant::Grant;
use super::plugin;
use super::target::Target;
use super::visitor::Visitor;
use api::Api;
pub(super) use error::LookupError;
use jwt::Jwt;
use redis::Redis;
use socket_directory::SocketDirectory;
use table::Table;

/// What knows the target of a token.
pub(super) enum Plugin {
    /// `TokenFile`, `ReadOnlyTokenFile` and `TokenFileName`.
    Table(Table),
    /// `UnixDomainSocketDirectory`.
    SocketDirectory(SocketDirectory),
    /// `JWTTokenApi`.
    Jwt(Jwt),
    /// `TokenRedis`.
    Redis(Redis),
    /// `BaseTokenAPI` and `JSONTokenApi`.
    Api(Api),
    /// One of the administrator's own.
    Own(plugin::Plugin),
}

impl Plugin {
    /// The plugin of a setup.
    ///
    /// # Errors
    ///
    /// Why it can't work, for a human.
    pub(super) fn new(lookup: &TokenLookup, prefer_ipv6: bool) -> Result<Self, String> {
        let endpoint = |service| Endpoint::new(service, prefer_ipv6, LOOKUP_DEADLINE);
        Ok(match lookup {
            TokenLookup::Lines => Self::Table(Table::of_lines()),
            TokenLookup::FileNames => Self::Table(Table::of_file_names()),
            TokenLookup::SocketDirectory(path) => Self::SocketDirectory(SocketDirectory::new(path)),
            TokenLookup::Jwt => Self::Jwt(Jwt::default()),
            TokenLookup::Own(link) => Self::Own(plugin::Plugin::new(link, prefer_ipv6, LOOKUP_DEADLINE)?),
            TokenLookup::Redis(lookup) => {
                Self::Redis(Redis::new(endpoint(&lookup.service)?, lookup, LOOKUP_DEADLINE))
            }
            TokenLookup::Api(lookup) => {
                Self::Api(Api::new(endpoint(&lookup.service)?, lookup, LOOKUP_DEADLINE)?)
            }
        })
    }

    /// Whether it depends on files that may change.
    pub(super) fn reads_files(&self) -> bool {
        matches!(self, Self::Table(_) | Self::Jwt(_))
    }

    /// It, if it is one of the administrator's own.
    pub(super) fn own(&self) -> Option<&plugin::Plugin> {
        match self {
            Self::Own(plugin) => Some(plugin),
            _ => None,
        }
    }

    /// Takes what the files of tokens hold now.
    pub(super) fn take_files(&self, files: TokenFiles) {
        match self {
            Self::Table(table) => table.fill(files),
            Self::Jwt(jwt) => jwt.take_key(&files),
            Self::SocketDirectory(_) | Self::Redis(_) | Self::Api(_) | Self::Own(_) => {}
        }
    }

    /// The target of a visitor's token; `grant` is what the visitor was granted before.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) async fn lookup(
        &self,
        token: &str,
        visitor: &Visitor<'_>,
        grant: &mut Grant,
    ) -> Result<Target, LookupError> {
        match self {
            Self::Table(table) => table.lookup(token),
            Self::SocketDirectory(folder) => folder.lookup(token),
            Self::Jwt(jwt) => jwt.lookup(token),
            Self::Redis(redis) => redis.lookup(token).await,
            Self::Api(api) => api.lookup(token).await,
            Self::Own(plugin) => own::lookup(plugin, visitor, grant).await,
        }
    }
}
