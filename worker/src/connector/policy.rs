//! Policy: which client may connect to which target.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use common::addr::TargetAddr;
use common::htpasswd;
use common::ipc::admission::Refusal;
use common::ipc::log::RoleEvent;
use common::ipc::lookup::PluginKind;
use common::ipc::offence::Offence;
use common::ipc::setup::{ConnectorSetup, Destination, TokenFiles};
use common::ipc::sockets::SocketName;
use common::ipc::wrapper::ProgramState;
use common::tokens::policy::Applicant;
use tokio::time::Instant;

use super::auth::{AuthError, AuthMethod};
use super::by_root::ForConnection;
use super::client_request::ClientRequest;
use super::dial::DialError;
use super::grant::Grant;
use super::plugin::ExternalPlugin;
use super::program::{Startup, WrappedProgram};
use super::reach::Check;
use super::site::{NotOurs, Site};
use super::target::Target;
use super::token::{Found, LookupError, TokenSource, UnknownFields};
use super::turns::Turn;

/// Why root does not connect to a socket that a service, a token or a plugin names.
const ONLY_NAMED: &str = "root connects only to sockets that the configuration or a token file names";

/// The policy of an instance.
pub(super) struct Policy {
    site: Site,
    auth: Vec<AuthMethod>,
    auth_for_pages: bool,
    targets: Targets,
    /// Sessions are recorded, unless the policy of a token says otherwise.
    records: bool,
    unknown_fields: UnknownFields,
    /// State of a program that is started for the targets, if there is one.
    startup: Option<Startup>,
}

/// The possible targets.
enum Targets {
    /// One target for all clients.
    One(TargetAddr),
    /// The wrapped program.
    Program(Rc<WrappedProgram>),
    /// The target that the client's token names.
    ByToken(Box<TokenSource>),
}

/// The reason why a client is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Denied {
    /// The client asks for a host that is not ours, or is a page of another origin.
    #[error(transparent)]
    NotOurs(#[from] NotOurs),
    /// Authentication has failed.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The client has sent no token. The message is that of the original.
    #[error("Token not present")]
    NoToken,
    /// The token leads to no target.
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

impl Denied {
    /// The refusal that the client receives.
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::NotOurs(error) => Refusal::NotOurs(error.reason()),
            Self::Auth(AuthError::Unauthorized(_)) => Refusal::Unauthorized,
            Self::Auth(AuthError::Forbidden(_) | AuthError::Refused(_, None)) => Refusal::Forbidden,
            Self::Auth(AuthError::Origin(_)) => Refusal::WrongOrigin,
            Self::Auth(AuthError::Refused(_, Some(reply))) => Refusal::Answered(reply.clone()),
            Self::Auth(AuthError::Failed(_)) => Refusal::AuthFailed,
            Self::Auth(AuthError::Busy) => Refusal::Overloaded,
            Self::NoToken => Refusal::NoToken,
            Self::Lookup(LookupError::NotFound | LookupError::Refused(_)) => Refusal::UnknownToken,
            Self::Lookup(LookupError::Failed(_)) => Refusal::LookupFailed,
        }
    }
}

impl Denied {
    /// What the client is penalised for, if it is at fault. Browsers find out that credentials are needed by a request
    /// without any.
    pub(super) fn offence(&self, request: &ClientRequest<'_>) -> Option<Offence> {
        let has_credentials = || request.facts.header("authorization").is_some_and(|value| !value.is_empty());
        match self {
            Self::Auth(AuthError::Unauthorized(_) | AuthError::Refused(_, Some(_))) => {
                has_credentials().then_some(Offence::WrongPassword)
            }
            Self::Auth(AuthError::Forbidden(_) | AuthError::Refused(_, None)) => Some(Offence::WrongPassword),
            Self::NotOurs(_) | Self::Auth(AuthError::Origin(_)) => Some(Offence::RefusedOrigin),
            Self::NoToken | Self::Lookup(LookupError::NotFound | LookupError::Refused(_)) => {
                Some(Offence::UnknownToken)
            }
            Self::Auth(AuthError::Busy | AuthError::Failed(_)) | Self::Lookup(LookupError::Failed(_)) => None,
        }
    }

    /// The event for the log, if the client is at fault.
    pub(super) fn event(&self) -> Option<RoleEvent> {
        match self {
            Self::Auth(AuthError::Failed(_) | AuthError::Busy) => None,
            Self::Auth(_) | Self::NotOurs(_) => Some(RoleEvent::AuthDenied),
            Self::NoToken | Self::Lookup(LookupError::NotFound | LookupError::Refused(_)) => {
                Some(RoleEvent::TokenDenied)
            }
            Self::Lookup(LookupError::Failed(_)) => None,
        }
    }
}

impl Policy {
    /// Creates the policy of a setup.
    ///
    /// # Errors
    ///
    /// The setting that can't be used, for the administrator.
    pub(super) fn new(setup: &ConnectorSetup) -> Result<Self, String> {
        let targets = match &setup.destination {
            Destination::Target(target) => Targets::One(target.clone()),
            Destination::Program { port, patience } => {
                Targets::Program(Rc::new(WrappedProgram::new(*port, *patience)))
            }
            Destination::Tokens(lookup) => {
                Targets::ByToken(Box::new(TokenSource::new(lookup, setup.prefer_ipv6)?))
            }
        };
        let auth = setup.auth.iter().map(|terms| AuthMethod::new(terms, setup.prefer_ipv6));
        let startup = setup.startup.map(Startup::new);
        Ok(Self {
            site: Site::new(&setup.site),
            auth: auth.collect::<Result<_, _>>()?,
            auth_for_pages: setup.auth_for_pages,
            targets,
            records: setup.record,
            unknown_fields: UnknownFields::default(),
            startup,
        })
    }

    /// Whether decisions depend on what the supervisor tells from time to time: token files, users, and that tokens were
    /// revoked.
    pub(super) fn may_change(&self) -> bool {
        matches!(self.targets, Targets::ByToken(_))
            || self.auth.iter().any(|method| matches!(method, AuthMethod::Users(_)))
    }

    /// Replaces the users of the file.
    pub(super) fn take_users(&self, users: htpasswd::Users) {
        if let Some(method) = self.auth.iter().find(|method| matches!(method, AuthMethod::Users(_))) {
            method.take_users(users);
        }
    }

    /// Loads the current content of the token files.
    pub(super) fn take_tokens(&self, files: TokenFiles) {
        if let Targets::ByToken(plugin) = &self.targets {
            plugin.take_files(files);
        }
    }

    /// Updates the state of the program.
    pub(super) fn take_program(&self, state: ProgramState) {
        if let Some(startup) = &self.startup {
            startup.take(state);
        }
        if let Targets::Program(program) = &self.targets {
            program.take(state);
        }
    }

    /// All external plugins of the policy.
    pub(super) fn external_plugins(&self) -> Vec<PluginKind> {
        let auth = (0..)
            .zip(&self.auth)
            .filter_map(|(place, auth)| auth.external_plugin().map(|_| PluginKind::Admission(place)));
        self.external_plugin(PluginKind::Targets)
            .map(|_| PluginKind::Targets)
            .into_iter()
            .chain(auth)
            .collect()
    }

    /// The external plugin of this kind, if there is one.
    pub(super) fn external_plugin(&self, kind: PluginKind) -> Option<&ExternalPlugin> {
        match (kind, &self.targets) {
            (PluginKind::Targets, Targets::ByToken(plugin)) => plugin.external_plugin(),
            (PluginKind::Targets, Targets::One(_) | Targets::Program(_)) => None,
            (PluginKind::Admission(place), _) => self.auth.get(usize::from(place))?.external_plugin(),
        }
    }

    /// Checks what a client asks for, and authenticates it, before its target is known.
    ///
    /// # Errors
    ///
    /// The reason why the client is refused, for the log.
    pub(super) async fn authenticate(&self, request: &ClientRequest<'_>) -> Result<Grant, Denied> {
        self.site.check(request)?;
        let mut grant = Grant::default();
        for plugin in self.auth.iter().filter(|plugin| !plugin.is_asked_after_lookup()) {
            plugin.authenticate(request, &mut grant, None).await?;
        }
        Ok(grant)
    }

    /// Checks whether a client may have a page.
    ///
    /// # Errors
    ///
    /// The reason of the refusal, for the log.
    pub(super) async fn may_browse(&self, request: &ClientRequest<'_>) -> Result<(), Denied> {
        if !self.auth_for_pages {
            return Ok(self.site.check(request)?);
        }
        let mut grant = self.authenticate(request).await?;
        let target = match &self.targets {
            Targets::One(target) => Some(Target::Address(target.clone())),
            Targets::Program(program) => Some(Target::Program(program.clone())),
            // No token is looked up for a page.
            Targets::ByToken(_) => None,
        };
        self.ask_about(request, &mut grant, target.as_ref()).await
    }

    /// Determines the targets of an authenticated client, in the order in which they are dialled, and applies the
    /// policy of its token. Plugins that are asked after the lookup may change the grant.
    ///
    /// # Errors
    ///
    /// The reason why the client gets none, for the log.
    pub(super) async fn targets(
        &self,
        request: &ClientRequest<'_>,
        grant: &mut Grant,
        by_root: Option<ForConnection<'_>>,
    ) -> Result<Vec<Target>, Denied> {
        let targets = match &self.targets {
            Targets::One(target) => vec![Target::Address(target.clone())],
            Targets::Program(program) => vec![Target::Program(program.clone())],
            Targets::ByToken(plugin) => {
                let token = request.facts.token.as_ref().ok_or(Denied::NoToken)?;
                let Found { targets, policy, unknown, identity } =
                    plugin.lookup(token.reveal(), request, grant, by_root).await?;
                self.unknown_fields.warn_of(unknown);
                grant.identity = identity;
                if let Some(policy) = policy {
                    let applicant = Applicant {
                        client: request.client,
                        origin: request.facts.header("origin"),
                        user: grant.user.as_deref(),
                        is_recorded: self.records,
                    };
                    let now = SystemTime::now();
                    policy.admits(&applicant, now).map_err(LookupError::from)?;
                    grant.take(&policy, now);
                }
                targets
            }
        };
        self.ask_about(request, grant, targets.first()).await?;
        Ok(targets)
    }

    /// Looks up the token of a client that was admitted before.
    ///
    /// # Errors
    ///
    /// The reason why the token leads to no target.
    pub(super) async fn lookup(
        &self,
        request: &ClientRequest<'_>,
        grant: &mut Grant,
        by_root: Option<ForConnection<'_>>,
    ) -> Result<Found, Denied> {
        let (Targets::ByToken(source), Some(token)) = (&self.targets, &request.facts.token) else {
            return Err(Denied::NoToken);
        };
        Ok(source.lookup(token.reveal(), request, grant, by_root).await?)
    }

    /// Time for which a client waits for the start of a program, in addition to the time for connecting.
    pub(super) fn patience(&self, target: &Target) -> Duration {
        let startup = self.startup.as_ref().map_or(Duration::ZERO, Startup::patience);
        match target {
            Target::Program(program) => program.patience(),
            Target::Address(_)
            | Target::InFile(_)
            | Target::Listed { .. }
            | Target::Socket { .. }
            | Target::Hidden { .. } => startup,
        }
    }

    /// Connects to a target until `deadline`. If a program is being started for it, waits for the target to
    /// listen.
    /// If this process may not connect, requests the connection from the supervisor through `by_root`.
    pub(super) async fn dial(
        &self,
        target: &Target,
        setup: &ConnectorSetup,
        deadline: Instant,
        turn: Rc<Turn>,
        by_root: Option<ForConnection<'_>>,
    ) -> Result<OwnedFd, DialError> {
        let reach = matches!(self.targets, Targets::ByToken(_)).then_some(&setup.reach);
        let dial = async || {
            let until = deadline.min(Instant::now() + setup.timeouts.connect);
            let dialled = target.dial(setup, until, turn.clone(), reach).await;
            let denied = dialled.as_ref().is_err_and(DialError::is_denial);
            match (by_root, self.name_for_root(target)) {
                (Some(by_root), Some(Ok(name))) if denied => {
                    if let Some((reach, path)) = reach.zip(target.unix_path()) {
                        Check { reach, is_spelled_out: true }.unseen(&path)?;
                    }
                    by_root.connect(name, until).await
                }
                (Some(_), Some(Err(why))) if denied => Err(DialError::Denied(why)),
                _ => dialled,
            }
        };
        match &self.startup {
            Some(startup) => startup.wait_for(dial).await,
            None => dial().await,
        }
    }

    /// The name of a target by which root may be asked to connect to it, or why root does not; none if it is no unix
    /// socket.
    fn name_for_root(&self, target: &Target) -> Option<Result<SocketName, Rc<str>>> {
        match (target, &self.targets) {
            (Target::Listed { name, .. }, _) => Some(name.clone()),
            // What others say is not root's word.
            (Target::Address(TargetAddr::Unix(_)), Targets::ByToken(_)) => Some(Err(ONLY_NAMED.into())),
            (Target::Address(TargetAddr::Unix(_)), _) => Some(Ok(SocketName::Target)),
            (Target::Socket { name, .. } | Target::Hidden { name, .. }, _) => {
                SocketName::is_sound(name).then(|| Ok(SocketName::InDirectory(name.clone())))
            }
            (Target::Address(TargetAddr::Tcp { .. }) | Target::InFile(_) | Target::Program(_), _) => None,
        }
    }

    /// Applies the authentication methods that need the target.
    async fn ask_about(
        &self,
        request: &ClientRequest<'_>,
        grant: &mut Grant,
        target: Option<&Target>,
    ) -> Result<(), Denied> {
        for plugin in self.auth.iter().filter(|plugin| plugin.is_asked_after_lookup()) {
            plugin.authenticate(request, grant, target).await?;
        }
        Ok(())
    }
}
