//! One instance of the service, from its listeners to its end.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use common::addr::TargetAddr;
use common::config::Config;
use common::ipc::channel::Channel;
use common::ticket::{Key, Mint};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::timeout;

use crate::confinement::Confinement;
use crate::connections::Connections;
use crate::identity::Identity;
use crate::listen::{self, ListenError};
use crate::pool::Pool;
use crate::setup::{self, SetupError, Setups, static_target};
use crate::{accept, banner, connector, echo, lifetime, notify, pool, signals};

/// How long the records of the last sessions may take.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What the parts of the supervisor share. They all run on one thread.
#[derive(Debug)]
pub(crate) struct Service {
    /// The configuration in force.
    pub(crate) config: Config,
    /// What the roles are told of it.
    pub(crate) setups: Setups,
    /// How far the roles are confined.
    pub(crate) confinement: Confinement,
    /// Makes the tickets of connections.
    pub(crate) mint: Mint,
    /// The gateways.
    pub(crate) pool: Pool,
    /// The connections that they have.
    pub(crate) connections: RefCell<Connections>,
    /// The connector's channel while it is ready.
    pub(crate) connector: RefCell<Option<Rc<Channel>>>,
    /// The certificate and its signer.
    pub(crate) identity: Identity,
    /// Gateways that were killed because they broke protocol.
    pub(crate) violations: Cell<u64>,
    /// Tells that connections have come or gone.
    changed: watch::Sender<()>,
    /// No role is started any more.
    pub(crate) stopping: Cell<bool>,
}

/// Why the service did not start or could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// No listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A file or user is missing.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The kernel refused something that a start needs.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// A role can't work with what it was told.
    #[error("{role}: {reason}")]
    Role {
        /// Which.
        role: &'static str,
        /// In its words.
        reason: String,
    },
}

/// Serves until a signal ends it.
pub(crate) async fn run(config: Config) -> Result<(), ServiceError> {
    let mut signals = signals::Signals::listen()?;
    let listeners = listen::all(&config)?;
    let (target, echo_listener) = match static_target(&config) {
        Some(target) => (target.clone(), None),
        None => echo::listen().map(|(target, socket)| (target, Some(socket)))?,
    };
    let service = Service::new(config, &target)?;
    let mut keepers = JoinSet::new();
    let started = start(&service, &mut keepers, echo_listener);
    tokio::select! {
        ready = started => ready?,
        _ = signals.stop() => return Ok(()),
    }
    for listening in &listeners {
        listening.begin()?;
    }
    banner::print(&service.config, &service.confinement, &listeners);
    notify::ready();
    keepers.spawn_local(notify::keep_status(service.clone()));
    keepers.spawn_local(notify::keep_watchdog());
    keepers.spawn_local(pool::keep_taking_acknowledgements(service.clone()));
    let mut accepting = JoinSet::new();
    for listening in listeners {
        accepting.spawn_local(accept::keep_accepting(service.clone(), listening));
    }
    tokio::select! {
        signal = signals.stop() => tracing::info!(target: "websockify::service", "In exit ({signal})"),
        reason = lifetime::over(&service) => {
            tracing::info!(target: "websockify::service", "{reason}");
            drop(std::mem::take(&mut accepting));
            // Those who are here are served to their end, unless we are told to go at once.
            tokio::select! {
                _ = signals.stop() => {}
                () = lifetime::last_connection(&service) => {}
            }
        }
    }
    notify::stopping();
    service.stopping.set(true);
    drop(accepting);
    stop(&service).await;
    Ok(())
}

impl Service {
    /// Tells whoever waits for [`Self::changes`] that connections have come or gone.
    pub(crate) fn note_change(&self) {
        self.changed.send_replace(());
    }

    /// Changes of the connections from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn new(config: Config, target: &TargetAddr) -> Result<Rc<Self>, ServiceError> {
        let mint = Mint::new(Key::generate()?, setup::ticket_lifetime(&config));
        let setups = Setups::read(&config, target, mint.key())?;
        Ok(Rc::new(Self {
            mint,
            pool: Pool::new(&config),
            identity: Identity::new(&config, setups.run_as),
            confinement: Confinement::new(&config, setups.run_as),
            config,
            setups,
            connections: RefCell::default(),
            connector: RefCell::default(),
            violations: Cell::new(0),
            changed: watch::Sender::default(),
            stopping: Cell::new(false),
        }))
    }
}

/// Starts the roles and waits until clients can be served.
async fn start(
    service: &Rc<Service>,
    keepers: &mut JoinSet<()>,
    echo_listener: Option<OwnedFd>,
) -> Result<(), ServiceError> {
    if let Some(listener) = echo_listener {
        keepers.spawn_local(echo::keep(service.clone(), listener));
    }
    service.identity.refresh(service).await;
    let first = connector::start(service).await?;
    keepers.spawn_local(connector::keep(service.clone(), first));
    let mut gateways = Vec::new();
    for _ in 0..service.pool.initial() {
        gateways.push(pool::start(service).await?);
    }
    for gateway in gateways {
        spawn_local(pool::keep(service.clone(), gateway));
    }
    Ok(())
}

/// Ends the sessions, then everything else.
async fn stop(service: &Rc<Service>) {
    let gateways = service.pool.stop();
    // Sessions get their own time; what a gateway needs to end itself comes on top.
    let patience = service.config.timeouts.stop + Duration::from_millis(300);
    let all = async {
        for gateway in &gateways {
            gateway.ended().await;
        }
    };
    if timeout(patience, all).await.is_err() {
        tracing::warn!(target: "websockify::service", "ending sessions that did not close in time");
    }
    // What the connector has still to say completes the records of the last sessions.
    if timeout(LAST_WORDS, lifetime::last_connection(service)).await.is_err() {
        service.connections.borrow_mut().connector_gone();
    }
}
