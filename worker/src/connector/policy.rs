//! Who may connect to what.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use common::addr::TargetAddr;
use common::ipc::ClientAddr;
use common::ipc::admission::{Refusal, Shown};
use common::ipc::setup::{ConnectorSetup, Destination, TokenFiles};
use common::ipc::wrapper::ProgramState;

use super::auth::{self, AuthError};
use super::program::Program;
use super::target::Target;
use super::token::{self, LookupError};

/// The policy of an instance.
pub(super) struct Policy {
    auth: Vec<auth::Plugin>,
    targets: Targets,
}

/// Which targets there are.
enum Targets {
    /// The same for all clients.
    One(TargetAddr),
    /// The wrapped program.
    Program(Rc<Program>),
    /// Where a client's token leads.
    ByToken(Box<token::Plugin>),
}

/// Why a client gets nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Denied {
    /// It has not proved what it must.
    #[error(transparent)]
    Auth(#[from] AuthError),
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
            Self::Auth(AuthError::Unauthorized(_)) => Refusal::Unauthorized,
            Self::Auth(AuthError::Forbidden(_)) => Refusal::Forbidden,
            Self::NoToken => Refusal::NoToken,
            Self::Lookup(LookupError::NotFound | LookupError::Refused(_)) => Refusal::UnknownToken,
            Self::Lookup(LookupError::Failed(_)) => Refusal::LookupFailed,
        }
    }
}

impl Policy {
    /// The policy of a setup.
    ///
    /// # Errors
    ///
    /// Why it can't work, for a human.
    pub(super) fn new(setup: &ConnectorSetup) -> Result<Self, String> {
        let targets = match &setup.destination {
            Destination::Target(target) => Targets::One(target.clone()),
            Destination::Program { port, patience } => {
                Targets::Program(Rc::new(Program::new(*port, *patience)))
            }
            Destination::Tokens(lookup) => {
                Targets::ByToken(Box::new(token::Plugin::new(lookup, setup.prefer_ipv6)?))
            }
        };
        Ok(Self { auth: setup.auth.iter().map(auth::Plugin::new).collect(), targets })
    }

    /// Whether it depends on files that may change.
    pub(super) fn reads_files(&self) -> bool {
        matches!(&self.targets, Targets::ByToken(plugin) if plugin.reads_files())
    }

    /// Takes what the files of tokens hold now.
    pub(super) fn take_tokens(&self, files: TokenFiles) {
        if let Targets::ByToken(plugin) = &self.targets {
            plugin.take_files(files);
        }
    }

    /// Takes how it stands with the wrapped program.
    pub(super) fn take_program(&self, state: ProgramState) {
        if let Targets::Program(program) = &self.targets {
            program.take(state);
        }
    }

    /// Takes the connection to the plugin's program.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(super) fn take_connection(&self, socket: OwnedFd) -> io::Result<()> {
        match &self.targets {
            Targets::ByToken(plugin) => plugin.take_connection(socket),
            Targets::One(_) | Targets::Program(_) => Err(io::Error::other("there is no plugin")),
        }
    }

    /// Waits until the plugin's program counts as hung; without end if there is none.
    pub(super) async fn plugin_hangs(&self) {
        match &self.targets {
            Targets::ByToken(plugin) => plugin.hangs().await,
            Targets::One(_) | Targets::Program(_) => std::future::pending().await,
        }
    }

    /// Whether a client that has shown this of itself may be served at all.
    ///
    /// # Errors
    ///
    /// Why not, in words for the log.
    pub(super) async fn authenticate(&self, shown: &Shown) -> Result<(), Denied> {
        for plugin in &self.auth {
            plugin.authenticate(shown).await?;
        }
        Ok(())
    }

    /// The target of such a client.
    ///
    /// # Errors
    ///
    /// Why it has none, in words for the log.
    pub(super) async fn target(&self, client: &ClientAddr, shown: &Shown) -> Result<Target, Denied> {
        match &self.targets {
            Targets::One(target) => Ok(Target::Address(target.clone())),
            Targets::Program(program) => Ok(Target::Program(program.clone())),
            Targets::ByToken(plugin) => {
                let token = shown.token.as_ref().ok_or(Denied::NoToken)?;
                Ok(plugin.lookup(token.reveal(), client, shown).await?)
            }
        }
    }
}
