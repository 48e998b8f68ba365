//! One instance of the service, from its listeners to its end.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use common::config::Config;
use common::exit_code;
use common::ipc::gateway::SupervisorToGateway;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::banner;
use crate::control::exporter::ExporterError;
use crate::control::{self, Control, status};
use crate::life::daemon::Daemon;
use crate::life::signals::{self, Orders, Signals};
use crate::life::upgrade::{self, Inheritance, RehearsalError};
use crate::life::{drain, lifetime, reload, watchdog};
use crate::os::log::{self, Log, message_id};
use crate::os::{notify, orphans, process};
use crate::path::generation::{Generation, GenerationError, LAST_MOMENT, LAST_WORDS};
use crate::path::listen::{self, ListenError, Listening};
use crate::path::{accept, handoff, overtime, revocation};
use crate::roles::wrapper::{Program, WrapError};
use crate::state::reload_requests::Kind;

/// The reason why the service could not start or continue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// There is no listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The roles can't be started.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// The exporter can't be started.
    #[error(transparent)]
    Exporter(#[from] ExporterError),
    /// The roles of this version can't be started.
    #[error(transparent)]
    Rehearsal(#[from] RehearsalError),
    /// The wrapped program can't be started.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// A system call that the start needs has failed.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// A task that runs for the life of the service has ended.
    #[error("a task of the supervisor has ended unexpectedly: {0}")]
    Task(String),
}

/// The tasks that run for the life of the service.
type Tasks = JoinSet<&'static str>;

/// Serves until something ends the service. Returns the exit status.
///
/// `daemon` is notified when clients are accepted. The log then stops using its caller's standard error.
pub(crate) async fn run(
    config: Config,
    daemon: Option<(Daemon, Log)>,
    path: Option<PathBuf>,
) -> Result<u8, ServiceError> {
    let mut signals = Signals::listen()?;
    let orders = Orders::listen()?;
    let listeners = listen::all(&config)?;
    let control = Control::new(Rc::default());
    let intake = &control.intake;
    let metrics = control.exporter.listen(&config)?;
    let mut tasks = Tasks::new();
    spawn(&mut tasks, "process::keep_reaping", process::keep_reaping());
    spawn(&mut tasks, "orphans::keep_ending", orphans::keep_ending());
    let port = listeners.iter().find_map(Listening::port);
    let program = Program::of(&config, port, None)?;
    let own = listeners
        .iter()
        .chain(metrics.iter().map(|door| &*door.listening))
        .filter_map(Listening::tcp)
        .collect();
    let generation = tokio::select! {
        ready = Generation::start(&intake.state, config, program.clone(), own) => ready?,
        _ = signals.stop() => return Ok(exit_code::SUCCESS),
    };
    let exporter = control.exporter.prepare(&generation, metrics).await?;
    control.exporter.apply(exporter, &generation.config);
    for listening in &listeners {
        listening.begin()?;
    }
    let (confinement, tls_fails) = (&generation.scope.confinement, generation.signer.problem().is_some());
    banner::settings(&generation.config, confinement, &listeners, daemon.is_some(), tls_fails);
    if let Some((daemon, log)) = daemon {
        log.leave_stderr()?;
        daemon.leave();
    }
    banner::proxying(&generation.config, program.as_deref(), &listeners);
    intake.put_into_force(generation);
    if let Some(path) = path {
        control::open(&control, &path);
        keep_register(&control, &path);
    }
    if let Some(program) = &program {
        program.start().await?;
    }
    tracing::info!(target: log::JOURNAL_ONLY, message_id = message_id::STARTED, "clients can be served");
    notify::ready();
    for listening in listeners {
        accept::begin(intake, listening);
    }
    serve(control, signals, orders, tasks).await
}

/// Takes over the service of an earlier image of this program, under the same process id.
pub(crate) async fn take_over(
    config: Config,
    inheritance: Inheritance,
    path: Option<PathBuf>,
) -> Result<u8, ServiceError> {
    let signals = Signals::listen()?;
    let orders = Orders::listen()?;
    let control = Control::new(Rc::default());
    let mut tasks = Tasks::new();
    spawn(&mut tasks, "process::keep_reaping", process::keep_reaping());
    spawn(&mut tasks, "orphans::keep_ending", orphans::keep_ending());
    signals::unblock();
    let asked = control.intake.state.reload_requests.ask(Kind::AfterUpgrade);
    upgrade::adopt(&control, &config, inheritance, path.as_deref(), asked);
    if let Some(path) = path {
        keep_register(&control, &path);
    }
    serve(control, signals, orders, tasks).await
}

/// Keeps a register of sessions beside the control socket, if session records go to a journal.
fn keep_register(control: &Control, path: &Path) {
    if log::keeps_fields() {
        let mut connections = control.intake.state.connections.borrow_mut();
        connections.keep_register(&path.with_file_name("sessions"));
    }
}

/// Starts a task that runs for the life of the service.
fn spawn(tasks: &mut Tasks, name: &'static str, task: impl Future<Output = ()> + 'static) {
    tasks.spawn_local(async move {
        task.await;
        name
    });
}

/// Waits until a task has ended that should never end.
async fn ended(tasks: &mut Tasks) -> ServiceError {
    match tasks.join_next().await {
        Some(Ok(name)) => ServiceError::Task(name.into()),
        Some(Err(error)) => ServiceError::Task(error.to_string()),
        None => std::future::pending().await,
    }
}

/// Serves until a signal, the configuration or the wrapped program ends the service. Returns the exit status.
async fn serve(
    control: Rc<Control>,
    mut signals: Signals,
    orders: Orders,
    mut tasks: Tasks,
) -> Result<u8, ServiceError> {
    let intake = &control.intake;
    intake.state.began();
    intake.compare_listeners();
    spawn(&mut tasks, "notify::keep_telling", notify::keep_telling());
    spawn(&mut tasks, "status::keep_telling", status::keep_telling(intake.clone()));
    spawn(&mut tasks, "watchdog::keep_feeding", watchdog::keep_feeding(intake.clone()));
    spawn(&mut tasks, "handoff::keep_doing", handoff::keep_doing(intake.clone()));
    let acknowledgements = handoff::keep_taking_acknowledgements(intake.clone());
    spawn(&mut tasks, "handoff::keep_taking_acknowledgements", acknowledgements);
    spawn(&mut tasks, "overtime::keep_watching", overtime::keep_watching(intake.clone()));
    spawn(&mut tasks, "revocation::keep_looking", revocation::keep_looking(intake.clone()));
    spawn(&mut tasks, "reload::keep_reloading", reload::keep_reloading(control.clone()));
    spawn(&mut tasks, "signals::keep_passing", orders.keep_passing(intake.state.clone()));
    let mut status = Ok(exit_code::SUCCESS);
    tokio::select! {
        signal = drain::time_to_end(intake, &mut signals) => {
            if let Some(signal) = signal {
                tracing::info!("In exit ({signal})");
            }
        }
        ended = lifetime::program_ended(intake) => {
            status = Ok(ended);
            tracing::info!("In exit (the wrapped program has ended)");
        }
        error = ended(&mut tasks) => status = Err(error),
    }
    notify::stopping();
    intake.state.stopping.set(true);
    intake.listeners.close();
    control.end();
    stop(&control).await;
    control.exporter.end();
    notify::tell_last();
    status
}

/// Ends the sessions, and then everything else.
async fn stop(control: &Control) {
    let intake = &control.intake;
    let generations = intake.generations.all();
    let program = intake.generations.program();
    let gateways: Vec<_> =
        generations.iter().flat_map(|one| one.pool.end(&SupervisorToGateway::Stop)).collect();
    let time = generations.last().map(|generation| generation.config.timeouts.stop).unwrap_or_default();
    let all = async {
        for gateway in &gateways {
            gateway.ended().await;
        }
    };
    // Sessions have the configured time. A gateway needs a little more to exit.
    if timeout(time + LAST_MOMENT, all).await.is_err() {
        tracing::warn!("ending sessions that did not close in time");
    }
    // Pending messages of the connector complete the records of the last sessions.
    if timeout(LAST_WORDS, lifetime::last_connection(&intake.state)).await.is_err() {
        for generation in generations {
            intake.state.leave(intake.state.connections.borrow_mut().connector_gone(generation.number));
        }
    }
    // After the sessions, so that their clients learn that the service has ended them.
    if let Some(program) = program {
        program.stop().await;
    }
}
