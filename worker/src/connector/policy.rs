//! Who may connect to what.

use std::rc::Rc;

use common::addr::TargetAddr;
use common::ipc::admission::Refusal;
use common::ipc::log::RoleEvent;
use common::ipc::lookup::PluginKind;
use common::ipc::setup::{ConnectorSetup, Destination, TokenFiles};
use common::ipc::wrapper::ProgramState;

use super::auth::{self, AuthError};
use super::grant::Grant;
use super::plugin;
use super::program::Program;
use super::target::Target;
use super::token::{self, LookupError};
use super::visitor::Visitor;

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
            Self::Auth(AuthError::Forbidden(_) | AuthError::Refused(_, None)) => Refusal::Forbidden,
            Self::Auth(AuthError::Origin(_)) => Refusal::WrongOrigin,
            Self::Auth(AuthError::Refused(_, Some(reply))) => Refusal::Answered(reply.clone()),
            Self::Auth(AuthError::Failed(_)) => Refusal::AuthFailed,
            Self::NoToken => Refusal::NoToken,
            Self::Lookup(LookupError::NotFound | LookupError::Refused(_)) => Refusal::UnknownToken,
            Self::Lookup(LookupError::Failed(_)) => Refusal::LookupFailed,
        }
    }
}

impl Denied {
    /// What to look for it by, if it is the client's fault.
    pub(super) fn event(&self) -> Option<RoleEvent> {
        match self {
            Self::Auth(AuthError::Failed(_)) => None,
            Self::Auth(_) => Some(RoleEvent::AuthDenied),
            Self::NoToken | Self::Lookup(LookupError::NotFound | LookupError::Refused(_)) => {
                Some(RoleEvent::TokenDenied)
            }
            Self::Lookup(LookupError::Failed(_)) => None,
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
        let auth = setup.auth.iter().map(|terms| auth::Plugin::new(terms, setup.prefer_ipv6));
        Ok(Self { auth: auth.collect::<Result<_, _>>()?, targets })
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

    /// The plugins of the administrator's own.
    pub(super) fn own_plugins(&self) -> Vec<PluginKind> {
        let auth = (0..)
            .zip(&self.auth)
            .filter_map(|(place, auth)| auth.own().map(|_| PluginKind::Admission(place)));
        self.own(PluginKind::Targets).map(|_| PluginKind::Targets).into_iter().chain(auth).collect()
    }

    /// The one that does this.
    pub(super) fn own(&self, kind: PluginKind) -> Option<&plugin::Plugin> {
        match (kind, &self.targets) {
            (PluginKind::Targets, Targets::ByToken(plugin)) => plugin.own(),
            (PluginKind::Targets, Targets::One(_) | Targets::Program(_)) => None,
            (PluginKind::Admission(place), _) => self.auth.get(usize::from(place))?.own(),
        }
    }

    /// What a visitor is granted before its target is known.
    ///
    /// # Errors
    ///
    /// Why it may not be served at all, in words for the log.
    pub(super) async fn authenticate(&self, visitor: &Visitor<'_>) -> Result<Grant, Denied> {
        let mut grant = Grant::default();
        for plugin in self.auth.iter().filter(|plugin| !plugin.is_asked_after_lookup()) {
            plugin.authenticate(visitor, &mut grant, None).await?;
        }
        Ok(grant)
    }

    /// Whether a visitor may have a page.
    ///
    /// # Errors
    ///
    /// Why not, in words for the log.
    pub(super) async fn may_browse(&self, visitor: &Visitor<'_>) -> Result<(), Denied> {
        let mut grant = self.authenticate(visitor).await?;
        let target = match &self.targets {
            Targets::One(target) => Some(Target::Address(target.clone())),
            Targets::Program(program) => Some(Target::Program(program.clone())),
            // No token is looked up for a page.
            Targets::ByToken(_) => None,
        };
        self.ask_about(visitor, &mut grant, target.as_ref()).await
    }

    /// The target of a visitor that was granted this before, and may be granted more now.
    ///
    /// # Errors
    ///
    /// Why it has none, in words for the log.
    pub(super) async fn target(&self, visitor: &Visitor<'_>, grant: &mut Grant) -> Result<Target, Denied> {
        let target = match &self.targets {
            Targets::One(target) => Target::Address(target.clone()),
            Targets::Program(program) => Target::Program(program.clone()),
            Targets::ByToken(plugin) => {
                let token = visitor.facts.token.as_ref().ok_or(Denied::NoToken)?;
                plugin.lookup(token.reveal(), visitor, grant).await?
            }
        };
        self.ask_about(visitor, grant, Some(&target)).await?;
        Ok(target)
    }

    /// Asks those who want to know the target.
    async fn ask_about(
        &self,
        visitor: &Visitor<'_>,
        grant: &mut Grant,
        target: Option<&Target>,
    ) -> Result<(), Denied> {
        for plugin in self.auth.iter().filter(|plugin| plugin.is_asked_after_lookup()) {
            plugin.authenticate(visitor, grant, target).await?;
        }
        Ok(())
    }
}
