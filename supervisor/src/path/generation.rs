//! One generation of roles: all that serve under the same reading of the configuration.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use common::config::{Config, Target};
use common::ipc::channel::Channel;
use common::ipc::gateway::SupervisorToGateway;
use common::ipc::setup::Destination;
use common::ticket::{Key, Mint};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::files::recordings::Recordings;
use crate::files::tokens::TokenSource;
use crate::path::pool::Pool;
use crate::roles::confinement::Confinement;
use crate::roles::connector;
use crate::roles::echo;
use crate::roles::gateway;
use crate::roles::liveness::Pulse;
use crate::roles::plugin;
use crate::roles::plugin::Plugin;
use crate::roles::role::{Handle, Role};
use crate::roles::setup::{self, Setups};
use crate::roles::signer::Identity;
use crate::roles::wrapper::Program;
use crate::run::{Service, ServiceError};

/// What a gateway needs to end itself, beside the time of its sessions.
pub(crate) const LAST_MOMENT: Duration = Duration::from_millis(300);

/// How long the records of the last sessions may take.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(100);

/// What belongs to one reading of the configuration.
#[derive(Debug)]
pub(crate) struct Generation {
    /// Counted from 1 since the service has started.
    pub(crate) number: u32,
    /// What it has in common with others.
    pub(crate) service: Rc<Service>,
    /// The configuration that it goes by.
    pub(crate) config: Config,
    /// When that was read; nothing if an earlier image has.
    pub(crate) read: Option<SystemTime>,
    /// What its roles are told of it; nothing if an earlier version of this program has started them.
    setups: Option<Setups>,
    /// How far its roles are confined.
    pub(crate) confinement: Confinement,
    /// Makes the tickets of its connections. No other generation has its key.
    pub(crate) mint: Mint,
    /// Its gateways.
    pub(crate) pool: Pool,
    /// Its connector's channel while that is ready.
    pub(crate) connector: RefCell<Option<Rc<Channel>>>,
    /// The connector's process, and that of the demo's target.
    pub(crate) connector_handle: RefCell<Option<Handle>>,
    pub(crate) echo_handle: RefCell<Option<Handle>>,
    /// Whether the connector answers.
    pub(crate) connector_pulse: Pulse,
    /// Where its sessions are recorded, if they are.
    pub(crate) recordings: Option<Recordings>,
    /// The certificate and its signer.
    pub(crate) identity: Identity,
    /// The wrapped program, if sessions go there. Others may have the same.
    pub(crate) program: Option<Rc<Program>>,
    /// The files of tokens.
    pub(crate) tokens: TokenSource,
    /// The administrator's programs that decide about clients.
    pub(crate) plugins: Vec<Rc<Plugin>>,
    /// Who keeps connector and echo target. They end with the generation.
    keepers: RefCell<JoinSet<()>>,
    /// A later one has taken its place: it only keeps the connections that it has.
    retired: Cell<bool>,
    /// Its sessions are being ended.
    expiring: Cell<bool>,
}

impl Generation {
    /// Starts the roles of a generation and waits until they can serve clients. If that fails nothing of
    /// it is left. `program` is the wrapped program of the configuration.
    pub(crate) async fn start(
        service: &Rc<Service>,
        config: Config,
        program: Option<Rc<Program>>,
    ) -> Result<Rc<Self>, ServiceError> {
        let (destination, echo_listener) = match &config.target {
            Target::Static(target) => (Destination::Target(target.clone()), None),
            Target::Tokens(tokens) => (Destination::Tokens(setup::token_lookup(&tokens.plugin)), None),
            Target::Wrapped(wrap) => {
                let port = program.as_ref().map(|program| program.port()).unwrap_or_default();
                (Destination::Program { port, patience: wrap.start_timeout }, None)
            }
            Target::Demo => {
                let (target, socket) = echo::listen()?;
                (Destination::Target(target), Some(socket))
            }
        };
        let mint = Mint::new(Key::generate()?, setup::ticket_lifetime(&config));
        let setups = Setups::read(
            &config,
            destination,
            mint.key(),
            service.connections.borrow().run(),
            service.token_key()?,
        )?;
        let plugins = Plugin::all(&config)?;
        let identity = Identity::new(&config, setups.run_as);
        let number = service.generations.next_number();
        let begun = (Some(setups), program);
        let generation = Self::new(service, config, number, mint, begun, identity, plugins);
        match generation.start_roles(echo_listener).await {
            Ok(()) => Ok(generation),
            Err(error) => {
                generation.end();
                Err(error)
            }
        }
    }

    /// One whose roles an earlier image of this program has started. They are not started again.
    pub(crate) fn adopted(
        service: &Rc<Service>,
        config: Config,
        number: u32,
        mint: Mint,
        program: Option<Rc<Program>>,
    ) -> Rc<Self> {
        Self::new(service, config, number, mint, (None, program), Identity::adopted(), Vec::new())
    }

    fn new(
        service: &Rc<Service>,
        config: Config,
        number: u32,
        mint: Mint,
        (setups, program): (Option<Setups>, Option<Rc<Program>>),
        identity: Identity,
        plugins: Vec<Rc<Plugin>>,
    ) -> Rc<Self> {
        let run_as = setups.as_ref().and_then(|setups| setups.run_as);
        Rc::new(Self {
            number,
            service: service.clone(),
            mint,
            pool: Pool::new(&config),
            identity,
            tokens: TokenSource::new(&config),
            recordings: config.record.as_deref().map(Recordings::new),
            plugins,
            program,
            confinement: Confinement::new(&config, run_as),
            config,
            read: setups.is_some().then(SystemTime::now),
            setups,
            connector: RefCell::default(),
            connector_handle: RefCell::default(),
            echo_handle: RefCell::default(),
            connector_pulse: Pulse::default(),
            keepers: RefCell::default(),
            retired: Cell::new(false),
            expiring: Cell::new(false),
        })
    }

    /// What its roles are told.
    pub(crate) fn setups(&self) -> Result<&Setups, ServiceError> {
        self.setups.as_ref().ok_or(ServiceError::Outdated)
    }

    /// Whether its roles are those of an earlier image.
    pub(crate) fn is_adopted(&self) -> bool {
        self.setups.is_none()
    }

    /// Goes on with a connector.
    pub(crate) fn adopt_connector(self: &Rc<Self>, role: Role) {
        *self.connector.borrow_mut() = Some(role.channel.clone());
        *self.connector_handle.borrow_mut() = Some(role.handle());
        if let Some(program) = &self.program {
            program.keep_telling(&role.channel);
        }
        self.keepers.borrow_mut().spawn_local(connector::keep(self.clone(), role));
    }

    /// Goes on with the demo's target.
    pub(crate) fn adopt_echo(&self, mut role: Role) {
        *self.echo_handle.borrow_mut() = Some(role.handle());
        self.keepers.borrow_mut().spawn_local(async move { _ = role.process.wait().await });
    }

    async fn start_roles(self: &Rc<Self>, echo_listener: Option<OwnedFd>) -> Result<(), ServiceError> {
        let generation = self;
        if let Some(listener) = echo_listener {
            generation.keepers.borrow_mut().spawn_local(echo::keep(generation.clone(), listener));
        }
        generation.identity.refresh(generation).await;
        generation.tokens.refresh(generation).await;
        let first = connector::start(generation).await?;
        for plugin in &generation.plugins {
            let keeper = plugin::keep(generation.clone(), plugin.clone());
            generation.keepers.borrow_mut().spawn_local(keeper);
        }
        generation.keepers.borrow_mut().spawn_local(connector::keep(generation.clone(), first));
        let mut gateways = Vec::new();
        for _ in 0..generation.pool.initial() {
            gateways.push(gateway::start(generation).await?);
        }
        for gateway in gateways {
            spawn_local(gateway::keep(generation.clone(), gateway));
        }
        Ok(())
    }

    /// What its clients must prove, in words for records.
    pub(crate) fn auth_method(&self) -> Option<String> {
        let names: Vec<_> = self.config.auth.iter().map(|auth| auth.plugin.name().to_string()).collect();
        (!names.is_empty()).then(|| names.join(" "))
    }

    /// Whether a later one has taken its place.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Whether the roles are there that every connection needs.
    pub(crate) fn can_serve(&self) -> bool {
        self.connector.borrow().is_some() && !self.pool.all().is_empty()
    }

    /// A later one has taken its place. It ends with its last connection.
    pub(crate) fn retire(self: &Rc<Self>) {
        self.retired.set(true);
        for gateway in self.pool.all() {
            if gateway.load.get() == 0 {
                gateway.end(&SupervisorToGateway::Stop);
            } else {
                // One that does not read now keeps its clients on their connections, and nothing else.
                let _ = gateway.channel.try_send(&SupervisorToGateway::Retire);
            }
        }
        self.end_if_empty();
    }

    /// Ends it if its last gateway has, once its connector has said what the last records need.
    pub(crate) fn end_if_empty(self: &Rc<Self>) {
        if self.pool.all().is_empty() {
            let generation = self.clone();
            spawn_local(async move {
                let service = &generation.service;
                let mut changes = service.changes();
                let recorded = async {
                    while service.connections.borrow().any_of(generation.number) {
                        // The sender lives as long as the service.
                        let _ = changes.changed().await;
                    }
                };
                let _ = timeout(LAST_WORDS, recorded).await;
                generation.end();
            });
        }
    }

    /// Ends its roles at once.
    pub(crate) fn end(&self) {
        self.retired.set(true);
        self.service.generations.remove(self.number);
        for gateway in self.pool.all() {
            gateway::kill(self, &gateway);
        }
        self.identity.end();
        *self.connector.borrow_mut() = None;
        *self.connector_handle.borrow_mut() = None;
        *self.echo_handle.borrow_mut() = None;
        self.service.connections.borrow_mut().connector_gone(self.number);
        self.keepers.borrow_mut().abort_all();
        self.service.note_change();
    }
}

/// Ends a generation when its time is over, if there is an end to it.
pub(crate) fn limit(generation: &Rc<Generation>, time: Option<Duration>) {
    let Some(time) = time else { return };
    let generation = generation.clone();
    spawn_local(async move {
        sleep(time).await;
        expire(generation).await;
    });
}

/// Ends a generation whose time is over: its sessions are closed, and what does not end by itself is
/// killed.
pub(crate) async fn expire(generation: Rc<Generation>) {
    if generation.expiring.replace(true) {
        return;
    }
    let gateways = generation.pool.end(&SupervisorToGateway::Restart);
    if gateways.is_empty() {
        return;
    }
    tracing::warn!(
        target: "websockify::generation",
        "ending the sessions of generation {}, which was replaced by a reload", generation.number,
    );
    let all = async {
        for gateway in &gateways {
            gateway.ended().await;
        }
    };
    // Nothing presses: clients have all the time that they have after any Close.
    let timeouts = generation.config.timeouts;
    if timeout(timeouts.stop.max(timeouts.close_handshake) + LAST_MOMENT, all).await.is_err() {
        for gateway in &gateways {
            gateway::kill(&generation, gateway);
        }
    }
}

/// The generations that live.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    /// Oldest first. New connections go to the last.
    living: RefCell<Vec<Rc<Generation>>>,
    last_number: Cell<u32>,
}

impl Generations {
    /// All of them, oldest first.
    pub(crate) fn all(&self) -> Vec<Rc<Generation>> {
        self.living.borrow().clone()
    }

    /// The one that new connections go to; none before the first is ready.
    pub(crate) fn current(&self) -> Option<Rc<Generation>> {
        self.living.borrow().last().cloned()
    }

    /// New connections go to `generation` from now on.
    pub(crate) fn add(&self, generation: Rc<Generation>) {
        self.living.borrow_mut().push(generation);
    }

    /// The number of the last.
    pub(crate) fn last_number(&self) -> u32 {
        self.last_number.get()
    }

    /// Goes on counting behind `number`.
    pub(crate) fn count_from(&self, number: u32) {
        self.last_number.set(number);
    }

    fn remove(&self, number: u32) {
        self.living.borrow_mut().retain(|one| one.number != number);
    }

    fn next_number(&self) -> u32 {
        self.last_number.set(self.last_number.get() + 1);
        self.last_number.get()
    }

    /// Connections of all of them.
    pub(crate) fn load(&self) -> u64 {
        self.living.borrow().iter().map(|generation| generation.pool.load()).sum()
    }
}
