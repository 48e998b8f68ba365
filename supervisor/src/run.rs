//! One instance of the service, from its listeners to its end.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::config::Config;
use common::exit_code;
use common::ipc::GatewayId;
use common::ipc::gateway::SupervisorToGateway;
use common::ipc::stats::{Durations, Stats};
use common::ticket::Key;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::banner;
use crate::control;
use crate::control::Control;
use crate::life::daemon::Daemon;
use crate::life::lifetime;
use crate::life::reload::{self, Reloads};
use crate::life::signals;
use crate::life::signals::{Orders, Signals};
use crate::life::upgrade;
use crate::life::upgrade::Inheritance;
use crate::os::log::{self, Log};
use crate::os::notify;
use crate::os::orphans;
use crate::os::process;
use crate::path::generation::{Generation, Generations, LAST_MOMENT, LAST_WORDS};
use crate::path::handoff;
use crate::path::handoff::Dispatch;
use crate::path::listen::{self, ListenError, Listening};
use crate::path::listeners::Listeners;
use crate::roles::exporter::Exporter;
use crate::roles::setup::SetupError;
use crate::roles::wrapper;
use crate::roles::wrapper::{Program, WrapError};
use crate::state::connections::Connections;

/// What the parts of the supervisor share. They all run on one thread.
#[derive(Debug, Default)]
pub(crate) struct Service {
    /// The roles, under the configuration in force and under earlier ones.
    pub(crate) generations: Generations,
    /// The connections that gateways have.
    pub(crate) connections: RefCell<Connections>,
    /// Where clients come from.
    pub(crate) listeners: Listeners,
    /// Who shows metrics.
    pub(crate) exporter: Exporter,
    /// The control socket.
    pub(crate) control: Control,
    /// Requests for a reload.
    pub(crate) reloads: Reloads,
    /// Who waits for a gateway.
    pub(crate) dispatch: Dispatch,
    /// Gateways that were killed because they broke protocol.
    pub(crate) violations: Cell<u64>,
    /// The number of the last gateway.
    last_gateway: Cell<u32>,
    /// Since when it serves.
    began: Cell<Option<Instant>>,
    /// Tells that connections have come or gone.
    changed: watch::Sender<()>,
    /// What gateways have counted that have ended.
    pub(crate) departed: RefCell<Stats>,
    /// What tokens are told apart by in records, as long as the service runs.
    pub(crate) token_key: RefCell<Option<Key>>,
    /// How long it took to reach targets.
    pub(crate) connects: RefCell<Durations>,
    /// Gateways that were started in place of dead ones.
    pub(crate) restarts: Cell<u64>,
    /// Nobody is let in any more, and the service ends with the last connection.
    pub(crate) draining: Cell<bool>,
    /// Where systemd listens, if that is not where the configuration says.
    pub(crate) listens_elsewhere: RefCell<Option<String>>,
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
    /// The wrapped program can't be started.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// The kernel refused something that a start needs.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// Roles of an earlier image can't be replaced by ours.
    #[error("a role of the version before can't be started again; reload")]
    Outdated,
    /// A role can't work with what it was told.
    #[error("{role}: {reason}")]
    Role {
        /// Which.
        role: &'static str,
        /// In its words.
        reason: String,
    },
}

/// Serves until something ends it, and gives the exit status.
///
/// `daemon` is told when clients can be served, and the log then leaves its caller's standard error.
pub(crate) async fn run(
    config: Config,
    daemon: Option<(Daemon, Log)>,
    control: Option<PathBuf>,
) -> Result<u8, ServiceError> {
    let mut signals = signals::Signals::listen()?;
    let orders = signals::Orders::listen()?;
    let listeners = listen::all(&config)?;
    let service = Rc::new(Service::default());
    let metrics = service.exporter.listen(&config)?;
    let mut keepers = JoinSet::new();
    keepers.spawn_local(process::keep_reaping());
    keepers.spawn_local(orphans::keep_reaping());
    let port = listeners.iter().find_map(Listening::port);
    let program = Program::of(&config, port, None)?;
    let generation = tokio::select! {
        ready = Generation::start(&service, config, program.clone()) => ready?,
        _ = signals.stop() => return Ok(exit_code::SUCCESS),
    };
    let exporter = service.exporter.prepare(&generation, metrics).await?;
    service.exporter.apply(exporter, &generation.config);
    for listening in &listeners {
        listening.begin()?;
    }
    banner::settings(&generation.config, &generation.confinement, &listeners, daemon.is_some());
    if let Some((daemon, log)) = daemon {
        log.leave_stderr()?;
        daemon.leave();
    }
    banner::proxying(&generation.config, program.as_deref(), &listeners);
    service.generations.add(generation);
    if let Some(path) = control {
        control::open(&service, &path);
        service.keep_register(&path);
    }
    if let Some(program) = &program {
        program.start().await?;
    }
    tracing::info!(target: log::JOURNAL_ONLY, message_id = log::message_id::STARTED, "clients can be served");
    notify::ready();
    for listening in listeners {
        service.listeners.add(&service, listening);
    }
    Ok(serve(service, signals, orders, keepers).await)
}

/// Goes on with what an earlier image of this program has left, under the same process id.
pub(crate) async fn take_over(
    config: Config,
    inheritance: Inheritance,
    control: Option<PathBuf>,
) -> Result<u8, ServiceError> {
    let signals = signals::Signals::listen()?;
    let orders = signals::Orders::listen()?;
    let service = Rc::new(Service::default());
    let mut keepers = JoinSet::new();
    keepers.spawn_local(process::keep_reaping());
    signals::unblock();
    let asked = service.reloads.ask_after_upgrade();
    upgrade::adopt(&service, &config, inheritance, control.as_deref(), asked);
    if let Some(path) = control {
        service.keep_register(&path);
    }
    Ok(serve(service, signals, orders, keepers).await)
}

/// Serves until a signal, the configuration, or the wrapped program ends it; gives the exit status.
async fn serve(service: Rc<Service>, mut signals: Signals, orders: Orders, mut keepers: JoinSet<()>) -> u8 {
    service.began();
    service.compare_listeners();
    keepers.spawn_local(notify::keep_telling());
    keepers.spawn_local(notify::keep_status(service.clone()));
    keepers.spawn_local(notify::keep_watchdog(service.clone()));
    keepers.spawn_local(handoff::keep_taking_acknowledgements(service.clone()));
    keepers.spawn_local(reload::keep_reloading(service.clone()));
    keepers.spawn_local(orders.keep_passing(service.clone()));
    let mut status = exit_code::SUCCESS;
    tokio::select! {
        signal = signals.stop() => tracing::info!(target: "websockify::service", "In exit ({signal})"),
        reason = lifetime::over(&service) => {
            tracing::info!(target: "websockify::service", "{reason}");
            service.listeners.close();
            // Those who are here are served to their end, unless we are told to go at once.
            tokio::select! {
                _ = signals.stop() => {}
                () = lifetime::last_connection(&service) => {}
            }
        }
        ended = wrapper::ended(&service) => {
            status = ended;
            tracing::info!(target: "websockify::service", "In exit (the wrapped program has ended)");
        }
    }
    notify::stopping();
    service.stopping.set(true);
    service.listeners.close();
    service.control.end();
    stop(&service).await;
    service.exporter.end();
    notify::tell_last();
    status
}

impl Service {
    /// Keeps a register of sessions beside the control socket, where there is a journal for their records.
    fn keep_register(&self, control: &Path) {
        if log::keeps_fields() {
            self.connections.borrow_mut().keep_register(&control.with_file_name("sessions"));
        }
    }

    /// Says so when systemd listens elsewhere than the configuration in force says.
    pub(crate) fn compare_listeners(&self) {
        let generation = self.generations.current();
        let elsewhere = generation.and_then(|generation| self.listeners.elsewhere(&generation.config));
        if let Some(elsewhere) = &elsewhere {
            tracing::warn!(
                target: "websockify::listen",
                message_id = log::message_id::LISTEN_MISMATCH,
                "systemd listens on {elsewhere}, which is not what `listen` says; run: systemctl daemon-reload, \
                 then systemctl restart with the socket unit, which ends the sessions",
            );
        }
        self.listens_elsewhere.replace(elsewhere);
    }

    /// Tells whoever waits for [`Self::changes`] that connections have come or gone.
    pub(crate) fn note_change(&self) {
        self.changed.send_replace(());
    }

    /// Changes of the connections from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// What tokens are told apart by in records.
    pub(crate) fn token_key(&self) -> io::Result<Key> {
        let mut key = self.token_key.borrow_mut();
        match &*key {
            Some(key) => Ok(key.clone()),
            None => Ok(key.insert(Key::generate()?).clone()),
        }
    }

    /// Since when it serves, through upgrades too.
    pub(crate) fn began(&self) -> Instant {
        let began = self.began.get().unwrap_or_else(Instant::now);
        self.began.set(Some(began));
        began
    }

    /// The wrapped program of the configuration in force.
    pub(crate) fn program(&self) -> Option<Rc<Program>> {
        self.generations.current().and_then(|generation| generation.program.clone())
    }

    /// The numbers of the last generation and of the last gateway.
    pub(crate) fn last_numbers(&self) -> (u32, u32) {
        (self.generations.last_number(), self.last_gateway.get())
    }

    /// Goes on from where an earlier image was.
    pub(crate) fn take_over(&self, last: (u32, u32), violations: u64, age: Duration) {
        self.generations.count_from(last.0);
        self.last_gateway.set(last.1);
        self.violations.set(violations);
        self.began.set(Instant::now().checked_sub(age));
    }

    /// Lets nobody in any more; the service ends with its last connection.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        self.listeners.close();
        self.note_change();
    }

    /// A number for a new gateway, which no other has had.
    pub(crate) fn next_gateway(&self) -> GatewayId {
        self.last_gateway.set(self.last_gateway.get() + 1);
        GatewayId(self.last_gateway.get())
    }
}

/// Ends the sessions, then everything else.
async fn stop(service: &Rc<Service>) {
    let generations = service.generations.all();
    let program = service.program();
    let gateways: Vec<_> =
        generations.iter().flat_map(|one| one.pool.end(&SupervisorToGateway::Stop)).collect();
    let time = generations.last().map(|generation| generation.config.timeouts.stop).unwrap_or_default();
    // Sessions get their own time; what a gateway needs to end itself comes on top.
    let patience = time + LAST_MOMENT;
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
        for generation in generations {
            service.connections.borrow_mut().connector_gone(generation.number);
        }
    }
    // Not before the sessions: they are told that it is we who end.
    if let Some(program) = program {
        program.stop().await;
    }
}
