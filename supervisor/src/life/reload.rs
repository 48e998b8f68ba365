//! Reload: reads the configuration again, and serves new connections with it.
//!
//! A reload changes everything or nothing: the roles of the new generation must be ready and its listeners
//! open before anything that is in force changes. Reloads run one at a time. Requests that arrive during one
//! are served by one more.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::config::Config;
use common::config::check::Severity;
use common::config::cli::{self, Command};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::lifetime::replace_program;
use super::upgrade;
use crate::control::Control;
use crate::control::exporter::ExporterError;
use crate::os::off_loop::OffLoopError;
use crate::os::{log, notify, program};
use crate::path::accept;
use crate::path::generation::{Generation, GenerationError};
use crate::path::intake::Intake;
use crate::path::listen::ListenError;
use crate::roles::wrapper::{Program, WrapError};
use crate::state::reload_requests::{Kind, Outcome};
use crate::state::service::ServiceState;

/// Pause before the reload of an upgrade is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// The reason why a reload has changed nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The command line or the configuration file is invalid.
    #[error("{0}")]
    Config(String),
    /// A listener can't be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A role rejects the new configuration.
    #[error(transparent)]
    Start(#[from] GenerationError),
    /// The exporter can't be started.
    #[error(transparent)]
    Exporter(#[from] ExporterError),
    /// The wrapped program can't be started.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// The certificate or its key is unusable.
    #[error("{0}")]
    Certificate(String),
    /// A file system hangs.
    #[error(transparent)]
    Files(#[from] OffLoopError),
    /// The service is about to end.
    #[error("the service drains or stops")]
    Stopping,
}

/// Logs the outcome of a reload or upgrade.
fn tell(kind: Kind, outcome: &Outcome) {
    match outcome {
        Ok(number) => {
            let done = if kind == Kind::Reload { "reloaded" } else { "upgraded" };
            tracing::info!(
                message_id = log::message_id::RELOADED,
                "{done}: new connections go to generation {number}"
            );
        }
        Err(error) => {
            tracing::error!(
                message_id = log::message_id::RELOAD_FAILED,
                "{} failed, the previous configuration stays in force: {error}",
                kind.as_str()
            );
        }
    }
}

/// Serves requests to reload or upgrade, for the life of the service.
pub(crate) async fn keep_reloading(control: Rc<Control>) {
    let state = &control.intake.state;
    loop {
        let (kind, asked) = state.reload_requests.next().await;
        notify::reloading();
        let outcome = match kind {
            _ if control.intake.is_ending() => Err(ReloadError::Stopping.to_string()),
            // After a successful upgrade, this image does not return from here.
            Kind::Upgrade => Err(upgrade::execute(&control).await.to_string()),
            Kind::Reload | Kind::AfterUpgrade => reload(&control).await.map_err(|error| error.to_string()),
        };
        tell(kind, &outcome);
        notify::reloaded(kind.as_str(), outcome.as_ref().err());
        if control.intake.generations.current().is_some_and(|generation| generation.is_adopted()) {
            // Until a reload succeeds, roles that die can't be replaced.
            spawn_local(try_again(state.clone()));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        state.reload_requests.finish(asked, outcome, now.as_secs());
        state.note_change();
    }
}

/// Requests another reload after a pause.
async fn try_again(state: Rc<ServiceState>) {
    sleep(RETRY_PAUSE).await;
    state.reload_requests.ask(Kind::Reload);
}

/// A generation that is ended when dropped, unless it has been put into service.
struct Candidate(Option<Rc<Generation>>);

impl Drop for Candidate {
    fn drop(&mut self) {
        if let Some(generation) = &self.0 {
            generation.end();
        }
    }
}

async fn reload(control: &Rc<Control>) -> Result<u32, ReloadError> {
    let intake = &control.intake;
    let config = intake.state.readers.configuration.get(read).await?;
    let config = config.map_err(ReloadError::Config)?;
    let change = intake.listeners.prepare(&config)?;
    let metrics = control.exporter.listen(&config)?;
    let before = intake.generations.program();
    let program = Program::of(&config, intake.listeners.port(&config), before.as_ref())?;
    let mut own = intake.listeners.addresses(&change);
    own.extend(metrics.iter().filter_map(|door| door.listening.tcp()));
    let generation = Generation::start(&intake.state, config, program.clone(), own).await?;
    // From here on, a failure ends the new generation.
    let mut candidate = Candidate(Some(generation.clone()));
    if let Some(problem) = certificate_problem(intake, &generation) {
        return Err(ReloadError::Certificate(problem));
    }
    if generation.files_hang() {
        return Err(OffLoopError::Hangs.into());
    }
    let exporter = control.exporter.prepare(&generation, metrics).await?;
    if intake.is_ending() {
        return Err(ReloadError::Stopping);
    }
    candidate.0 = None;
    let config = &generation.config;
    log::set_verbose(config.verbose);
    let earlier = intake.generations.all();
    intake.put_into_force(generation.clone());
    for opened in intake.listeners.apply(change, config) {
        accept::begin(intake, opened);
    }
    control.exporter.apply(exporter, config);
    intake.compare_listeners();
    for old in &earlier {
        if !old.is_retired() {
            old.retire();
            old.limit(config.timeouts.drain);
        }
    }
    let most = usize::try_from(config.limits.generations.get()).unwrap_or(usize::MAX);
    let too_many = earlier.len().saturating_sub(most);
    for old in earlier.into_iter().take(too_many) {
        spawn_local(old.expire());
    }
    intake.state.room.notify_waiters();
    replace_program(before, program).await;
    Ok(generation.number)
}

/// Parses the command line again, and the configuration file that it names.
fn read() -> Result<Config, String> {
    let line = program::in_first_directory(|| cli::from_args(std::env::args_os()));
    let line = line.map_err(|error| error.to_string())?;
    let Command::Run(config) = line.command else {
        return Err("the options no longer start the service".into());
    };
    let problems = config.check();
    match problems.iter().find(|problem| problem.severity == Severity::Error) {
        Some(problem) => Err(problem.to_string()),
        None => Ok(*config),
    }
}

/// Returns a problem with the certificate for which a reload must fail. A start continues without a
/// certificate, but a reload must not lose one.
fn certificate_problem(intake: &Intake, generation: &Generation) -> Option<String> {
    if let Some(problem) = generation.signer.problem() {
        return Some(problem);
    }
    let had_one = intake.generations.current().is_some_and(|old| old.scope.identity.borrow().is_some());
    let tls = generation.config.tls.as_ref()?;
    (had_one && generation.scope.identity.borrow().is_none())
        .then(|| format!("the certificate {:?} no longer exists", tls.certificate))
}
