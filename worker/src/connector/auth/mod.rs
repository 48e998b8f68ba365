//! What clients must prove: one file for each kind.
//!
//! All of it must be proved before anything is looked up, so that who may not in learns nothing about
//! tokens and costs no look-up.

mod basic;
mod common_name;
mod origin;

use common::ipc::admission::Shown;
use common::ipc::setup::AuthTerms;

use basic::Basic;
use common_name::CommonName;
use origin::Origin;

/// Something that clients must prove.
#[derive(Debug)]
pub(super) enum Plugin {
    /// `BasicHTTPAuth`.
    Basic(Basic),
    /// `ExpectOrigin`.
    Origin(Origin),
    /// `ClientCertCNAuth`.
    CommonName(CommonName),
}

/// Why a client may not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AuthError {
    /// It has not said who it is, or not rightly: it is to be asked (RFC 9110 section 15.5.2).
    #[error("{0}")]
    Unauthorized(&'static str),
    /// Asking would not help (RFC 9110 section 15.5.4).
    #[error("{0}")]
    Forbidden(String),
}

impl Plugin {
    /// The plugin of a setup.
    pub(super) fn new(terms: &AuthTerms) -> Self {
        match terms {
            AuthTerms::Basic(credentials) => Self::Basic(Basic::new(credentials)),
            AuthTerms::Origin(origins) => Self::Origin(Origin::new(origins)),
            AuthTerms::CommonName(names) => Self::CommonName(CommonName::new(names)),
        }
    }

    /// Whether a client has proved it that has shown this of itself.
    ///
    /// # Errors
    ///
    /// Why not.
    #[allow(clippy::unused_async, reason = "these need no waiting, others will")]
    pub(super) async fn authenticate(&self, shown: &Shown) -> Result<(), AuthError> {
        match self {
            Self::Basic(basic) => basic.authenticate(shown.header("authorization")),
            Self::Origin(origin) => origin.authenticate(shown.header("origin")),
            Self::CommonName(names) => names.authenticate(shown.common_name.as_deref()),
        }
    }
}
