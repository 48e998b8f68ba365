//! Reading the configuration again, and serving new connections under it.
//!
//! A reload is all or nothing: the new generation of roles must be ready, and new listeners open, before
//! anything that is in force changes. Reloads come one after the other, and those that are asked for
//! while one is under way are done with one more.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::config::Config;
use common::config::check::Severity;
use common::config::cli::{self, Command};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::life::upgrade;
use crate::os::log;
use crate::os::notify;
use crate::os::program;
use crate::path::generation;
use crate::path::generation::Generation;
use crate::path::listen::ListenError;
use crate::roles::wrapper;
use crate::roles::wrapper::{Program, WrapError};
use crate::run::{Service, ServiceError};

/// Pause before the reload is tried again that an upgrade needs.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// Requests for a reload, and what has become of them.
#[derive(Debug)]
pub(crate) struct Reloads {
    /// How many were asked for.
    asked: Cell<u64>,
    /// Another version is to take our place.
    upgrade: Cell<bool>,
    /// This is the first reload of a version that has taken another's place.
    upgraded: Cell<bool>,
    succeeded: Cell<Option<u64>>,
    more: Notify,
    /// How many of them are done, and how the last has ended.
    done: watch::Sender<(u64, Outcome)>,
}

/// The number of the generation in force, or why it is still the one before, for humans.
pub(crate) type Outcome = Result<u32, String>;

/// Why a reload has changed nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The command line or the file can't be understood.
    #[error("{0}")]
    Config(String),
    /// A listener can't be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A role can't work with the new configuration.
    #[error(transparent)]
    Start(#[from] ServiceError),
    /// The wrapped program can't be started.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// The certificate or its key.
    #[error("{0}")]
    Certificate(String),
    /// The service is about to end.
    #[error("the service is stopping")]
    Stopping,
}

impl Default for Reloads {
    fn default() -> Self {
        Self {
            asked: Cell::default(),
            upgrade: Cell::default(),
            upgraded: Cell::default(),
            succeeded: Cell::default(),
            more: Notify::default(),
            done: watch::Sender::new((0, Ok(1))),
        }
    }
}

impl Reloads {
    /// Asks for a reload, for [`Self::outcome`].
    pub(crate) fn ask(&self) -> u64 {
        self.asked.set(self.asked.get() + 1);
        self.more.notify_one();
        self.asked.get()
    }

    /// Asks for an upgrade, which is a reload too.
    pub(crate) fn ask_upgrade(&self) -> u64 {
        self.upgrade.set(true);
        self.ask()
    }

    /// Asks for the reload that completes an upgrade.
    pub(crate) fn ask_after_upgrade(&self) -> u64 {
        self.upgraded.set(true);
        self.ask()
    }

    /// Waits for the end of what was asked for.
    pub(crate) async fn outcome(&self, asked: u64) -> Outcome {
        let mut done = self.done.subscribe();
        match done.wait_for(|(number, _)| *number >= asked).await {
            Ok(done) => done.1.clone(),
            // The sender lives as long as this.
            Err(_) => Err("the service has ended".into()),
        }
    }

    /// Why the last one has changed nothing.
    pub(crate) fn last_failure(&self) -> Option<String> {
        self.done.borrow().1.as_ref().err().cloned()
    }

    /// When one has succeeded last, seconds since 1970.
    pub(crate) fn last_success(&self) -> Option<u64> {
        self.succeeded.get()
    }
}

/// What is told about the end of a reload.
fn tell(what: &str, outcome: &Outcome) {
    match outcome {
        Ok(number) => {
            let done = if what == "upgrade" { "upgraded" } else { "reloaded" };
            tracing::info!(target: "websockify::reload", message_id = log::message_id::RELOADED, "{done}: new connections go to generation {number}");
        }
        Err(error) => {
            tracing::error!(target: "websockify::reload", message_id = log::message_id::RELOAD_FAILED, "{what} failed, what was in force stays so: {error}");
        }
    }
}

/// Reloads whenever that is asked for.
pub(crate) async fn keep_reloading(service: Rc<Service>) {
    let reloads = &service.reloads;
    loop {
        reloads.more.notified().await;
        let asked = reloads.asked.get();
        notify::reloading();
        let (what, outcome) = if reloads.upgrade.take() {
            // If all is well, this is the end of this image.
            ("upgrade", Err(upgrade::execute(&service).await.to_string()))
        } else {
            let what = if reloads.upgraded.take() { "upgrade" } else { "reload" };
            (what, reload(&service).await.map_err(|error| error.to_string()))
        };
        tell(what, &outcome);
        if outcome.is_ok() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            reloads.succeeded.set(Some(now.as_secs()));
        }
        notify::reloaded(what, outcome.as_ref().err());
        if service.generations.current().is_some_and(|generation| generation.is_adopted()) {
            // It has no means to replace roles that die.
            spawn_local(try_again(service.clone()));
        }
        drop(reloads.done.send_replace((asked, outcome)));
        service.note_change();
    }
}

/// Asks for another reload after a while.
async fn try_again(service: Rc<Service>) {
    sleep(RETRY_PAUSE).await;
    service.reloads.ask();
}

async fn reload(service: &Rc<Service>) -> Result<u32, ReloadError> {
    let config = read()?;
    let change = service.listeners.prepare(&config)?;
    let metrics = service.exporter.listen(&config)?;
    let before = service.program();
    let program = Program::of(&config, service.listeners.port(&config), before.as_ref())?;
    let generation = Generation::start(service, config, program.clone()).await?;
    if let Some(problem) = certificate_problem(service, &generation) {
        generation.end();
        return Err(ReloadError::Certificate(problem));
    }
    let exporter = match service.exporter.prepare(&generation, metrics).await {
        Ok(exporter) => exporter,
        Err(error) => {
            generation.end();
            return Err(error.into());
        }
    };
    if service.stopping.get() {
        generation.end();
        return Err(ReloadError::Stopping);
    }
    let config = &generation.config;
    log::set_verbose(config.verbose);
    let earlier = service.generations.all();
    service.generations.add(generation.clone());
    service.listeners.apply(service, change, config);
    service.exporter.apply(exporter, config);
    service.compare_listeners();
    for old in &earlier {
        if !old.is_retired() {
            old.retire();
            generation::limit(old, config.timeouts.drain);
        }
    }
    let most = usize::try_from(config.limits.generations).unwrap_or(usize::MAX);
    let too_many = earlier.len().saturating_sub(most);
    for old in earlier.into_iter().take(too_many) {
        spawn_local(generation::expire(old));
    }
    service.dispatch.more_room();
    wrapper::replace(before, program).await;
    Ok(generation.number)
}

/// The configuration of our command line, or of the file that it names.
fn read() -> Result<Config, ReloadError> {
    let line = program::in_first_folder(|| cli::from_args(std::env::args_os()));
    let line = line.map_err(|error| ReloadError::Config(error.to_string()))?;
    let Command::Run(config) = line.command else {
        return Err(ReloadError::Config("the command line asks for something else".into()));
    };
    let problems = config.check();
    match problems.iter().find(|problem| problem.severity == Severity::Error) {
        Some(problem) => Err(ReloadError::Config(problem.to_string())),
        None => Ok(*config),
    }
}

/// At a start a certificate may come later. At a reload it must not get lost.
fn certificate_problem(service: &Service, generation: &Generation) -> Option<String> {
    if let Some(problem) = generation.identity.problem() {
        return Some(problem);
    }
    let had_one = service.generations.current().is_some_and(|old| old.identity.in_force().is_some());
    let tls = generation.config.tls.as_ref()?;
    (had_one && generation.identity.in_force().is_none())
        .then(|| format!("the certificate {:?} is gone", tls.certificate))
}
