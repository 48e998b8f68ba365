//! What clients must prove: one file for each kind.
//!
//! All of it must be proved before anything is looked up, so that who may not in learns nothing about
//! tokens and costs no look-up. Only classes that were written for the original are asked later, since they
//! are told the target.

mod basic;
mod common_name;
mod error;
mod origin;
mod own;

use common::ipc::setup::{AuthTerms, LOOKUP_DEADLINE};

use super::grant::Grant;
use super::plugin;
use super::target::Target;
use super::visitor::Visitor;
use basic::Basic;
use common_name::CommonName;
pub(super) use error::AuthError;
use origin::Origin;
use own::Own;

/// Something that clients must prove.
pub(super) enum Plugin {
    /// `BasicHTTPAuth`.
    Basic(Basic),
    /// `ExpectOrigin`.
    Origin(Origin),
    /// `ClientCertCNAuth`.
    CommonName(CommonName),
    /// One of the administrator's own.
    Own(Box<Own>),
}

impl Plugin {
    /// The plugin of a setup.
    ///
    /// # Errors
    ///
    /// Why it can't work, for a human.
    pub(super) fn new(terms: &AuthTerms, prefer_ipv6: bool) -> Result<Self, String> {
        Ok(match terms {
            AuthTerms::Basic(credentials) => Self::Basic(Basic::new(credentials)),
            AuthTerms::Origin(origins) => Self::Origin(Origin::new(origins)),
            AuthTerms::CommonName(names) => Self::CommonName(CommonName::new(names)),
            AuthTerms::Own { link, after_lookup } => {
                let plugin = plugin::Plugin::new(link, prefer_ipv6, LOOKUP_DEADLINE)?;
                Self::Own(Box::new(Own { plugin, after_lookup: *after_lookup }))
            }
        })
    }

    /// Whether it is asked when the target is known, and not before.
    pub(super) fn is_asked_after_lookup(&self) -> bool {
        matches!(self, Self::Own(own) if own.after_lookup)
    }

    /// It, if it is one of the administrator's own.
    pub(super) fn own(&self) -> Option<&plugin::Plugin> {
        match self {
            Self::Own(own) => Some(&own.plugin),
            _ => None,
        }
    }

    /// Whether a visitor has proved it; then `grant` may become more, or less. The target is told to those
    /// who ask for it.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) async fn authenticate(
        &self,
        visitor: &Visitor<'_>,
        grant: &mut Grant,
        target: Option<&Target>,
    ) -> Result<(), AuthError> {
        let facts = visitor.facts;
        match self {
            Self::Basic(basic) => {
                grant.name(Some(basic.authenticate(facts.header("authorization"))?));
                Ok(())
            }
            Self::Origin(origin) => origin.authenticate(facts.header("origin")),
            Self::CommonName(names) => {
                names.authenticate(facts.common_name.as_deref())?;
                grant.name(facts.common_name.clone());
                Ok(())
            }
            Self::Own(own) => own.authenticate(visitor, grant, target).await,
        }
    }
}
