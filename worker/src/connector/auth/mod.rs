//! Authentication: one file for each method.
//!
//! All methods must accept the client before anything is looked up, so that a client without access learns
//! nothing about tokens and causes no lookup. The exception are Python classes written for the original,
//! which are given the target.

mod basic;
mod common_name;
mod error;
mod origin;
mod users;

use std::time::SystemTime;

use common::htpasswd;
use common::ipc::setup::{AuthTerms, LOOKUP_DEADLINE};

use super::client_request::ClientRequest;
use super::grant::Grant;
use super::plugin::ExternalPlugin;
use super::plugin::answer::Verdict;
use super::plugin::question::QuestionKind;
use super::target::Target;
use basic::Basic;
use common_name::CommonName;
pub(super) use error::AuthError;
use origin::Origin;
use users::Users;

/// A method by which clients are authenticated.
pub(super) enum AuthMethod {
    /// `BasicHTTPAuth`.
    Basic(Basic),
    /// `BasicHTTPAuth` with a file of users.
    Users(Box<Users>),
    /// `ExpectOrigin`.
    Origin(Origin),
    /// `ClientCertCNAuth`.
    CommonName(CommonName),
    /// An external plugin decides.
    External {
        /// The plugin.
        plugin: Box<ExternalPlugin>,
        /// The plugin is asked after the lookup, and receives the target.
        after_lookup: bool,
    },
}

impl AuthMethod {
    /// Creates the method of a setup.
    ///
    /// # Errors
    ///
    /// The setting that can't be used, for the administrator.
    pub(super) fn new(terms: &AuthTerms, prefer_ipv6: bool) -> Result<Self, String> {
        Ok(match terms {
            AuthTerms::Basic(credentials) => Self::Basic(Basic::new(credentials)),
            AuthTerms::Users => Self::Users(Box::new(Users::new()?)),
            AuthTerms::Origin { expected, is_secret } => Self::Origin(Origin::new(expected, *is_secret)),
            AuthTerms::CommonName(names) => Self::CommonName(CommonName::new(names)),
            AuthTerms::External { link, after_lookup } => {
                let plugin = Box::new(ExternalPlugin::new(link, prefer_ipv6, LOOKUP_DEADLINE)?);
                Self::External { plugin, after_lookup: *after_lookup }
            }
        })
    }

    /// Whether the method is applied after the lookup of the target.
    pub(super) fn is_asked_after_lookup(&self) -> bool {
        matches!(self, Self::External { after_lookup: true, .. })
    }

    /// Replaces the users of the file, if this method has one.
    pub(super) fn take_users(&self, users: htpasswd::Users) {
        if let Self::Users(own) = self {
            own.take(users);
        }
    }

    /// The external plugin that decides, if this is one.
    pub(super) fn external_plugin(&self) -> Option<&ExternalPlugin> {
        match self {
            Self::External { plugin, .. } => Some(plugin),
            _ => None,
        }
    }

    /// Authenticates a client, and updates its grant. `target` is for plugins that are asked after the
    /// lookup.
    ///
    /// # Errors
    ///
    /// The reason why the client is rejected.
    pub(super) async fn authenticate(
        &self,
        request: &ClientRequest<'_>,
        grant: &mut Grant,
        target: Option<&Target>,
    ) -> Result<(), AuthError> {
        let facts = request.facts;
        match self {
            Self::Basic(basic) => {
                grant.name(Some(basic.authenticate(facts.header("authorization"))?));
                Ok(())
            }
            Self::Users(users) => {
                let user = users.authenticate(facts.header("authorization"), request.client).await?;
                grant.name(Some(user));
                Ok(())
            }
            Self::Origin(origin) => origin.authenticate(facts.header("origin")),
            Self::CommonName(names) => {
                names.authenticate(facts.common_name.as_deref())?;
                grant.name(facts.common_name.clone());
                Ok(())
            }
            Self::External { plugin, .. } => {
                let written =
                    plugin.ask_about(request, QuestionKind::Auth, grant.user.as_deref(), target).await;
                let verdict = written.and_then(|written| Ok(written.verdict(SystemTime::now())?));
                match verdict.map_err(|error| AuthError::Failed(error.to_string()))? {
                    Verdict::Allowed { user, lifetime } => {
                        grant.name(user);
                        grant.limit(lifetime);
                        Ok(())
                    }
                    Verdict::Refused { reason, reply } => Err(AuthError::Refused(reason, reply)),
                }
            }
        }
    }
}
