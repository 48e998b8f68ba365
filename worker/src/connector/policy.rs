//! Who may connect to what.

use common::addr::TargetAddr;
use common::ipc::admission::{Refusal, Shown};
use common::ipc::setup::{Destination, TokenFiles};

use super::target::Target;
use super::token::{LookupError, Plugin};

/// The policy of an instance.
#[derive(Debug)]
pub(super) enum Policy {
    /// Everybody may connect to the same target.
    Everybody(TargetAddr),
    /// Who has a token may connect to where it leads.
    Tokens(Plugin),
}

/// Why a client gets no target.
#[derive(Debug, thiserror::Error)]
pub(super) enum Denied {
    /// It has no token. In the words of the original.
    #[error("Token not present")]
    NoToken,
    /// Its token leads nowhere.
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

impl Denied {
    /// What the client may know.
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::NoToken => Refusal::NoToken,
            Self::Lookup(LookupError::NotFound) => Refusal::UnknownToken,
            Self::Lookup(LookupError::Failed(_)) => Refusal::LookupFailed,
        }
    }
}

impl Policy {
    /// The policy of a setup.
    pub(super) fn new(destination: &Destination) -> Self {
        match destination {
            Destination::Target(target) => Self::Everybody(target.clone()),
            Destination::Tokens(lookup) => Self::Tokens(Plugin::new(lookup)),
        }
    }

    /// Takes what the files of tokens hold now.
    pub(super) fn take_tokens(&self, files: TokenFiles) {
        if let Self::Tokens(plugin) = self {
            plugin.take_files(files);
        }
    }

    /// The target of a client that has shown this of itself.
    ///
    /// # Errors
    ///
    /// Why it has none, in words for the log.
    pub(super) async fn target(&self, shown: &Shown) -> Result<Target, Denied> {
        match self {
            Self::Everybody(target) => Ok(Target::Address(target.clone())),
            Self::Tokens(plugin) => {
                let token = shown.token.as_ref().ok_or(Denied::NoToken)?;
                Ok(plugin.lookup(token.reveal()).await?)
            }
        }
    }
}
