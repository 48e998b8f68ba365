//! A generation: all roles that serve under one reading of the configuration.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::time::{Duration, SystemTime};

use common::config::token::TokenPlugin;
use common::config::{Config, Target};
use common::ipc::ConnectionId;
use common::ipc::connector::SupervisorToConnector;
use common::ipc::gateway::SupervisorToGateway;
use common::ipc::setup::Destination;
use common::ticket::{Key, Mint};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::pool::Pool;
use crate::files::certificate::CertificateFiles;
use crate::files::recordings::Recordings;
use crate::files::sockets::{SocketNames, TargetSockets};
use crate::files::tokens::TokenSource;
use crate::files::users::UsersFile;
use crate::os::network::Network;
use crate::roles::confinement::Confinement;
use crate::roles::connector::{ConnectorSpec, ask_to_repeat, ask_to_settle};
use crate::roles::echo::{self, EchoSpec};
use crate::roles::gateway::{GatewaySlot, GatewaySnapshot};
use crate::roles::host::Host;
use crate::roles::peer::{Fault, Peer, Role};
use crate::roles::plugin::{self, Plugin, PluginSpec};
use crate::roles::scope::Scope;
use crate::roles::setup::{self, Origin, SetupError, Setups};
use crate::roles::signer::Signer;
use crate::roles::supervise::{self, Keeper, Kept, RoleError};
use crate::roles::wrapper::Program;
use crate::state::service::ServiceState;

/// Time that a gateway needs to exit after its sessions have ended.
pub(crate) const LAST_MOMENT: Duration = Duration::from_millis(300);

/// Time limit for the records of the last sessions.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(100);

/// The roles and settings of one reading of the configuration.
#[derive(Debug)]
pub(crate) struct Generation {
    /// Number of the generation, from 1 for each start of the service.
    pub(crate) number: u32,
    pub(crate) config: Config,
    /// When the configuration was read; `None` if an earlier image of the program has read it.
    pub(crate) read: Option<SystemTime>,
    /// State that the roles share.
    pub(crate) scope: Rc<Scope>,
    /// Issues the tickets of the generation's connections, with a key of its own.
    pub(crate) mint: Mint,
    pub(crate) pool: Pool,
    /// The certificate and its signer.
    pub(crate) signer: Signer,
    /// The wrapped program, if sessions are connected to it. Generations may share it.
    pub(crate) program: Option<Rc<Program>>,
    /// External plugins that are programs.
    pub(super) plugins: Vec<Rc<Plugin>>,
    pub(super) tokens: Rc<TokenSource>,
    /// The key of the hashes of tokens.
    token_key: Key,
    users: Rc<UsersFile>,
    /// Targets that only root may connect to.
    pub(crate) sockets: Rc<TargetSockets>,
    recordings: Option<Rc<Recordings>>,
    /// The echo role, for the demo.
    pub(crate) echo: RefCell<Option<Rc<Peer>>>,
    /// Keepers of the connector, the echo role and the plugins.
    keepers: RefCell<Vec<Keeper>>,
    /// Plugins that an earlier image has started.
    pub(crate) adopted_plugins: RefCell<Vec<plugin::Running>>,
    /// The remaining sessions are being ended.
    expiring: Cell<bool>,
    over: Cell<bool>,
    /// Reference to itself, for tasks.
    itself: Weak<Self>,
}

/// The reason why the roles of a generation can't be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GenerationError {
    /// A file or a user is missing or invalid.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A system call has failed.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// A role has rejected its setup or has failed.
    #[error(transparent)]
    Role(#[from] RoleError),
}

impl Generation {
    /// Starts the roles of a generation and waits until they can serve clients. On failure all of them are
    /// ended. `program` is the wrapped program of the configuration, and `own` are the addresses at which the service
    /// listens.
    pub(crate) async fn start(
        state: &Rc<ServiceState>,
        config: Config,
        program: Option<Rc<Program>>,
        own: Vec<SocketAddr>,
    ) -> Result<Rc<Self>, GenerationError> {
        let (destination, echo_listener) = match config.target() {
            Target::Static(target) => (Destination::Target(target.clone()), None),
            Target::Tokens(tokens) => (Destination::Tokens(setup::token_lookup(&tokens.plugin)), None),
            Target::Wrapped(wrap) => {
                let port = program.as_ref().and_then(|program| program.port()).unwrap_or_default();
                (Destination::Program { port, patience: wrap.start_timeout }, None)
            }
            Target::Demo => {
                let (target, socket) = echo::listen()?;
                (Destination::Target(target), Some(socket))
            }
        };
        let mint = Mint::new(Key::generate()?, setup::ticket_lifetime(&config));
        let run = state.connections.borrow().run();
        let (settings, key, generated) = (config.clone(), mint.key().clone(), state.token_key()?);
        let read = move || Setups::read(&settings, destination, own, &key, run, generated);
        let setups = state.readers.settings.get(read).await.map_err(io::Error::other)??;
        let plugins = Plugin::all(&config, setups.run_as)?;
        let origin = Origin::Started(setups);
        let generation = Self::new(state, config, state.next_generation(), mint, origin, program, plugins);
        match generation.start_roles(echo_listener).await {
            Ok(()) => Ok(generation),
            Err(error) => {
                generation.end();
                Err(error.into())
            }
        }
    }

    /// Creates a generation from roles that an earlier image of the program has started.
    pub(crate) fn adopted(
        state: &Rc<ServiceState>,
        config: Config,
        number: u32,
        mint: Mint,
        program: Option<Rc<Program>>,
        sockets: SocketNames,
        token_key: Key,
    ) -> Rc<Self> {
        let origin = Origin::Adopted { sockets: Rc::new(TargetSockets::adopted(sockets)), token_key };
        Self::new(state, config, number, mint, origin, program, Vec::new())
    }

    fn new(
        state: &Rc<ServiceState>,
        config: Config,
        number: u32,
        mint: Mint,
        origin: Origin,
        program: Option<Rc<Program>>,
        plugins: Vec<Rc<Plugin>>,
    ) -> Rc<Self> {
        let is_started = matches!(origin, Origin::Started(_));
        let token_key = match &origin {
            Origin::Started(setups) => setups.connector.token_key.clone(),
            Origin::Adopted { token_key, .. } => token_key.clone(),
        };
        let confinement = match &origin {
            Origin::Started(setups) => Confinement::new(&config, setups.run_as, setups.no_user.clone()),
            Origin::Adopted { .. } => Confinement::new(&config, None, None),
        };
        let sockets = match &origin {
            Origin::Started(setups) => Rc::new(TargetSockets::new(&config, setups.run_as.is_some())),
            Origin::Adopted { sockets, .. } => sockets.clone(),
        };
        Rc::new_cyclic(|host: &Weak<Self>| {
            let scope = Rc::new(Scope {
                generation: number,
                state: state.clone(),
                origin,
                sandbox: config.sandbox,
                confinement: Rc::new(confinement),
                connector: RefCell::default(),
                identity: RefCell::default(),
                retired: Cell::default(),
                host: host.clone() as Weak<dyn Host>,
            });
            let files = if is_started { CertificateFiles::of(&config) } else { None };
            Self {
                number,
                read: is_started.then(SystemTime::now),
                mint,
                pool: Pool::new(&config),
                signer: Signer::new(scope.clone(), files),
                scope,
                program,
                plugins,
                tokens: Rc::new(TokenSource::new(&config, sockets.clone(), token_key.clone())),
                token_key,
                users: Rc::new(UsersFile::of(&config)),
                sockets,
                recordings: config.record.as_deref().map(Recordings::new).map(Rc::new),
                config,
                echo: RefCell::default(),
                keepers: RefCell::default(),
                adopted_plugins: RefCell::default(),
                expiring: Cell::default(),
                over: Cell::default(),
                itself: host.clone(),
            }
        })
    }

    async fn start_roles(&self, echo_listener: Option<OwnedFd>) -> Result<(), RoleError> {
        let scope = &self.scope;
        if let Some(listener) = echo_listener {
            let spec = Rc::new(EchoSpec { scope: scope.clone(), listener: Some(listener) });
            let role = supervise::start(&*spec).await?;
            self.echo.replace(Some(role.peer.clone()));
            self.keepers.borrow_mut().push(Keeper::new(spec, Some(role)));
        }
        // No previous signer exists at the start.
        drop(self.signer.refresh().await);
        self.tokens.refresh().await;
        self.users.refresh().await;
        let spec = Rc::new(self.connector_spec(self.program.as_ref().and_then(|program| program.network())));
        let role = supervise::start(&*spec).await?;
        self.keepers.borrow_mut().push(Keeper::new(spec, Some(role)));
        for plugin in &self.plugins {
            let spec = Rc::new(PluginSpec { scope: scope.clone(), plugin: plugin.clone() });
            let running = if plugin.is_class() { Some(Kept::start(&*spec).await?) } else { None };
            self.keepers.borrow_mut().push(Keeper::new(spec, running));
        }
        for _ in 0..self.pool.initial() {
            self.add_gateway().await?;
        }
        Ok(())
    }

    fn connector_spec(&self, network: Option<Rc<Network>>) -> ConnectorSpec {
        ConnectorSpec {
            scope: self.scope.clone(),
            tokens: self.tokens.clone(),
            users: self.users.clone(),
            sockets: self.sockets.clone(),
            network,
        }
    }

    async fn add_gateway(&self) -> Result<(), RoleError> {
        let requests = self.config.limits.keep_alive_requests.get().into();
        let slot = Rc::new(GatewaySlot::new(self.scope.clone(), self.recordings.clone(), requests));
        let role = supervise::start(&*slot).await?;
        self.pool.add(slot.clone(), Keeper::new(slot, Some(role)));
        self.scope.state.room.notify_waiters();
        Ok(())
    }

    /// Starts another gateway.
    pub(crate) async fn grow(self: Rc<Self>) {
        if let Err(error) = self.add_gateway().await {
            tracing::warn!("continuing without a further gateway: {error}");
        }
        self.pool.has_grown();
    }

    /// Takes over the connector of an earlier image. It waits for sockets for the connections `unanswered`.
    pub(crate) fn adopt_connector(&self, role: Role, unanswered: Vec<ConnectionId>) {
        spawn_local(ask_to_repeat(role.peer.clone(), unanswered));
        self.scope.connector.replace(Some(role.peer.clone()));
        if let Some(program) = &self.program {
            program.keep_telling(&role.peer);
        }
        ask_to_settle(&self.scope, &role.peer);
        let spec = self.connector_spec(None);
        self.keepers.borrow_mut().push(Keeper::new(Rc::new(spec), Some(role)));
    }

    /// Takes over the echo role of an earlier image.
    pub(crate) fn adopt_echo(&self, role: Role) {
        self.echo.replace(Some(role.peer.clone()));
        let spec = EchoSpec { scope: self.scope.clone(), listener: None };
        self.keepers.borrow_mut().push(Keeper::new(Rc::new(spec), Some(role)));
    }

    /// Takes over a gateway of an earlier image.
    pub(crate) fn adopt_gateway(&self, snapshot: GatewaySnapshot, role: Role, acknowledgements: OwnedFd) {
        let (scope, recordings, peer) = (self.scope.clone(), self.recordings.clone(), role.peer.clone());
        let slot = Rc::new(GatewaySlot::adopted(scope, recordings, snapshot, peer, acknowledgements));
        self.pool.add(slot.clone(), Keeper::new(slot, Some(role)));
    }

    /// Process ids of the plugins.
    pub(crate) fn plugin_pids(&self) -> Vec<i32> {
        let ours = self.plugins.iter().filter_map(|plugin| plugin.pid());
        let adopted = self.adopted_plugins.borrow();
        ours.chain(adopted.iter().map(plugin::Running::pid)).collect()
    }

    /// Whether an earlier image has started the roles. They can't be started again then.
    pub(crate) fn is_adopted(&self) -> bool {
        matches!(self.scope.origin, Origin::Adopted { .. })
    }

    /// Reads the certificate and token files if they have changed.
    pub(crate) async fn refresh_files(&self) {
        if let Some(before) = self.signer.refresh().await {
            for slot in self.pool.slots() {
                // The next connection must not find the previous signer, which ends soon. If this fails, the
                // gateway has died, and the one that replaces it is introduced at its start.
                let _ = slot.introduce_others().await;
            }
            drop(before);
        }
        self.refresh_tokens().await;
        if self.users.refresh().await {
            self.tell_connector(self.users.in_force().map(|told| told.map(SupervisorToConnector::Users)))
                .await;
        }
    }

    /// Reads the token files if they have changed, and ends the sessions that they no longer allow.
    pub(super) async fn refresh_tokens(&self) {
        if self.tokens.refresh().await {
            self.tell_connector(self.tokens.in_force().map(|told| told.map(SupervisorToConnector::Tokens)))
                .await;
            self.revoke().await;
        }
    }

    /// Tells the connector what has changed, if it is there and there is a descriptor for that.
    pub(super) async fn tell_connector(&self, told: io::Result<Option<SupervisorToConnector>>) {
        let connector = self.scope.connector.borrow().clone();
        if let (Some(connector), Ok(Some(told))) = (connector, told) {
            // Fails only if the connector has died. The next one is told at its start.
            let _ = timeout(supervise::START_DEADLINE, connector.channel.send(&told)).await;
        }
    }

    /// Whether tokens are JSON Web Tokens.
    pub(super) fn has_signed_tokens(&self) -> bool {
        matches!(self.config.target(), Target::Tokens(tokens) if matches!(tokens.plugin, TokenPlugin::Jwt(_)))
    }

    /// The generation, unless it is being dropped.
    pub(super) fn itself(&self) -> Option<Rc<Self>> {
        self.itself.upgrade()
    }

    /// Whether the file system of the token files, or of the file of users, hangs.
    pub(crate) fn files_hang(&self) -> bool {
        self.tokens.hangs() || self.users.hangs()
    }

    /// Names of the authentication methods, for session records.
    pub(crate) fn auth_method(&self) -> Option<String> {
        let names: Vec<_> = self.config.auth.iter().map(|auth| auth.plugin.name().to_string()).collect();
        (!names.is_empty()).then(|| names.join(" "))
    }

    /// When the current certificate expires.
    pub(crate) fn expires(&self) -> Option<SystemTime> {
        self.scope.identity.borrow().as_ref()?.expires
    }

    /// The key of the hashes that stand for tokens.
    pub(crate) fn token_key(&self) -> &Key {
        &self.token_key
    }

    /// Whether a later generation is in force.
    pub(crate) fn is_retired(&self) -> bool {
        self.scope.retired.get()
    }

    /// Whether all roles have ended.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Whether the roles that every connection needs are ready.
    pub(crate) fn can_serve(&self) -> bool {
        self.scope.connector.borrow().is_some() && !self.pool.all().is_empty()
    }

    /// Retires the generation. It ends with its last connection.
    pub(crate) fn retire(&self) {
        self.scope.retired.set(true);
        for gateway in self.pool.all() {
            if self.scope.state.connections.borrow().load_of(gateway.id) == 0 {
                gateway.end_idle();
            } else {
                // If the gateway does not read this, it merely keeps idle connections of its clients open.
                let _ = gateway.peer.channel.try_send(&SupervisorToGateway::Retire);
            }
        }
        self.end_unneeded_roles();
        self.end_if_empty();
        self.end_signer_later();
    }

    /// Once a retired generation has no connection, ends the roles that serve connections. The gateways have
    /// been told to end, and one that ignores this must not keep access to key and targets.
    pub(super) fn end_unneeded_roles(&self) {
        if self.is_retired() && !self.scope.state.connections.borrow().any_of(self.number) {
            self.end_roles_of_connections();
        }
    }

    /// Ends the signer of a retired generation when its last ticket has expired. All TLS handshakes are over
    /// by then, and a long session must not keep the key in memory.
    fn end_signer_later(&self) {
        let (generation, lifetime) = (self.itself.clone(), self.mint.lifetime());
        spawn_local(async move {
            sleep(lifetime).await;
            if let Some(generation) = generation.upgrade() {
                generation.signer.end();
            }
        });
    }

    /// Ends a retired generation after its last gateway has ended and its connector has completed the last
    /// records.
    pub(super) fn end_if_empty(&self) {
        if !self.is_retired() || !self.pool.is_empty() || self.is_over() {
            return;
        }
        let Some(generation) = self.itself.upgrade() else { return };
        spawn_local(async move {
            let state = &generation.scope.state;
            let recorded = state.wait_until(|| !state.connections.borrow().any_of(generation.number));
            let _ = timeout(LAST_WORDS, recorded).await;
            generation.end();
        });
    }

    /// Ends all roles at once.
    pub(crate) fn end(&self) {
        self.scope.retired.set(true);
        self.over.set(true);
        self.pool.clear();
        self.end_roles_of_connections();
    }

    /// Ends the roles that serve connections, and the echo role.
    fn end_roles_of_connections(&self) {
        self.signer.end();
        self.keepers.take();
        self.adopted_plugins.take();
        self.scope.connector.replace(None);
        self.echo.replace(None);
        self.scope.state.leave(self.scope.state.connections.borrow_mut().connector_gone(self.number));
    }

    /// Ends the generation after `time`, if a time is given.
    pub(crate) fn limit(self: &Rc<Self>, time: Option<Duration>) {
        let Some(time) = time else { return };
        let generation = self.clone();
        spawn_local(async move {
            sleep(time).await;
            generation.expire().await;
        });
    }

    /// Closes the remaining sessions, and kills gateways that do not end.
    pub(crate) async fn expire(self: Rc<Self>) {
        if self.expiring.replace(true) {
            return;
        }
        let gateways = self.pool.end(&SupervisorToGateway::Restart);
        if gateways.is_empty() {
            return;
        }
        let number = self.number;
        tracing::warn!("ending the sessions of generation {number}, which was replaced by a reload");
        let all = async {
            for gateway in &gateways {
                gateway.ended().await;
            }
        };
        // Clients have as much time as after any other Close frame.
        let timeouts = self.config.timeouts;
        if timeout(timeouts.stop.max(timeouts.close_handshake) + LAST_MOMENT, all).await.is_err() {
            for gateway in &gateways {
                gateway.peer.kill_for_fault(Fault::Overtime);
            }
        }
    }
}
