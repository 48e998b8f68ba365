//! Token sources: one file for each kind.
//!
//! A source is queried once for each client that requests a WebSocket. If it fails, only that client is
//! affected. Tokens are never logged.

mod api;
mod error;
mod found;
mod jwt;
mod redis;
mod signed_link;
mod socket_directory;
mod table;
mod tables;
mod unknown_fields;

use std::time::SystemTime;

use common::ipc::setup::{LOOKUP_DEADLINE, TokenFiles, TokenLookup};

use super::by_root::ForConnection;
use super::client_request::ClientRequest;
use super::endpoint::Endpoint;
use super::grant::Grant;
use super::plugin::ExternalPlugin;
use super::plugin::answer::TargetAnswer;
use super::plugin::question::QuestionKind;
use api::Api;
pub(super) use error::LookupError;
pub(super) use found::Found;
use jwt::Jwt;
use redis::Redis;
use signed_link::SignedLink;
use socket_directory::SocketDirectory;
use table::Table;
use tables::PolicyTable;
pub(super) use unknown_fields::UnknownFields;

/// A source of targets.
pub(super) enum TokenSource {
    /// `TokenFile`, `ReadOnlyTokenFile` and `TokenFileName`.
    Table(Table),
    /// `TokenTable`.
    Policies(PolicyTable),
    /// `UnixDomainSocketDirectory`.
    SocketDirectory(SocketDirectory),
    /// `JWTTokenApi`.
    Jwt(Jwt),
    /// `SignedLink`.
    SignedLink(SignedLink),
    /// `TokenRedis`.
    Redis(Redis),
    /// `BaseTokenAPI` and `JSONTokenApi`.
    Api(Api),
    /// An external plugin.
    External(ExternalPlugin),
}

impl TokenSource {
    /// Creates the source of a setup.
    ///
    /// # Errors
    ///
    /// The setting that can't be used, for the administrator.
    pub(super) fn new(lookup: &TokenLookup, prefer_ipv6: bool) -> Result<Self, String> {
        let endpoint = |service| Endpoint::new(service, prefer_ipv6, LOOKUP_DEADLINE);
        Ok(match lookup {
            TokenLookup::Lines => Self::Table(Table::of_lines()),
            TokenLookup::FileNames => Self::Table(Table::of_file_names()),
            TokenLookup::Tables => Self::Policies(PolicyTable::default()),
            TokenLookup::SocketDirectory(path) => Self::SocketDirectory(SocketDirectory::new(path)),
            TokenLookup::Jwt => Self::Jwt(Jwt::default()),
            TokenLookup::SignedLink => Self::SignedLink(SignedLink::default()),
            TokenLookup::External(link) => {
                Self::External(ExternalPlugin::new(link, prefer_ipv6, LOOKUP_DEADLINE)?)
            }
            TokenLookup::Redis(lookup) => {
                Self::Redis(Redis::new(endpoint(&lookup.service)?, lookup, LOOKUP_DEADLINE))
            }
            TokenLookup::Api(lookup) => {
                Self::Api(Api::new(endpoint(&lookup.service)?, lookup, LOOKUP_DEADLINE)?)
            }
        })
    }

    /// The external plugin, if this is one.
    pub(super) fn external_plugin(&self) -> Option<&ExternalPlugin> {
        match self {
            Self::External(plugin) => Some(plugin),
            _ => None,
        }
    }

    /// Loads the current content of the token files.
    pub(super) fn take_files(&self, files: TokenFiles) {
        match self {
            Self::Table(table) => table.fill(files),
            Self::Policies(table) => table.fill(&files),
            Self::Jwt(jwt) => jwt.take_key(&files),
            Self::SignedLink(links) => links.take_keys(&files),
            Self::SocketDirectory(_) | Self::Redis(_) | Self::Api(_) | Self::External(_) => {}
        }
    }

    /// Looks up the targets of a client's token. `grant` is what the client has been granted so far, and is
    /// updated. `by_root` finds sockets that this process may not see.
    ///
    /// # Errors
    ///
    /// The reason why the token leads to no target.
    pub(super) async fn lookup(
        &self,
        token: &str,
        request: &ClientRequest<'_>,
        grant: &mut Grant,
        by_root: Option<ForConnection<'_>>,
    ) -> Result<Found, LookupError> {
        match self {
            Self::Table(table) => table.lookup(token).map(Found::from),
            Self::Policies(table) => table.lookup(token),
            Self::SocketDirectory(directory) => directory.lookup(token, by_root).await.map(Found::from),
            Self::Jwt(jwt) => jwt.lookup(token),
            Self::SignedLink(links) => links.lookup(token).map(Found::from),
            Self::Redis(redis) => redis.lookup(token).await,
            Self::Api(api) => api.lookup(token).await,
            Self::External(plugin) => {
                let written =
                    plugin.ask_about(request, QuestionKind::Target, grant.user.as_deref(), None).await;
                let answer = written.and_then(|written| Ok(written.target(SystemTime::now())?));
                match answer.map_err(|error| LookupError::Failed(format!("the plugin: {error}")))? {
                    TargetAnswer::Target { address, lifetime, policy } => {
                        grant.limit(lifetime);
                        Found::in_json(address, policy)
                            .map_err(|error| LookupError::Failed(format!("the plugin: {error}")))
                    }
                    TargetAnswer::Refused(reason) => Err(LookupError::Refused(reason)),
                }
            }
        }
    }
}
