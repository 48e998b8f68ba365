//! The exporter: a role that shows metrics over HTTP, at a listener where no client comes.
//!
//! It belongs to the service and not to a generation: what is counted outlasts reloads, and a reload that does
//! not concern it leaves it as it is.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::config::Config;
use common::ipc::channel::{Channel, ChannelError};
use common::ipc::exporter::{ExporterToSupervisor, Page, SupervisorToExporter};
use common::ipc::level::Level;
use common::ipc::setup::{self, ExporterSetup};
use common::sys::memory_file;
use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::control::metrics;
use crate::os::log::message_id;
use crate::path::generation::Generation;
use crate::path::listen::{self, ListenError, Listening};
use crate::roles::liveness::{self, Pulse};
use crate::roles::role::{self, Backoff, Handle, Role};
use crate::run::{Service, ServiceError};

/// How long an exporter that was replaced has for the answers that it owes.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Pause between two answers, so that whoever asks without end does not take our time from clients.
const PAUSE: Duration = Duration::from_millis(10);

/// How long the exporter may leave an answer unread.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// The exporter, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Exporter(RefCell<Option<Running>>);

#[derive(Debug)]
struct Running {
    listening: Rc<Listening>,
    /// Nothing if an earlier image has started it.
    setup: Option<ExporterSetup>,
    handle: Rc<RefCell<Option<Handle>>>,
    wanted: Rc<Wanted>,
    /// Ends the role with itself.
    _keeper: JoinSet<()>,
}

/// What a configuration changes.
#[derive(Debug)]
pub(crate) enum Change {
    /// Nothing.
    Stays,
    /// Another takes its place, or none.
    Replaces(Option<Box<Replacement>>),
}

/// An exporter that takes the place of another.
#[derive(Debug)]
pub(crate) struct Replacement(Running);

impl Exporter {
    /// The listener that `config` wants: the one that is open, or a new one.
    pub(crate) fn listen(&self, config: &Config) -> Result<Option<Rc<Listening>>, ListenError> {
        let Some(metrics) = &config.metrics else { return Ok(None) };
        let running = self.0.borrow();
        let open = running.as_ref().map(|running| &running.listening);
        if let Some(open) = open.filter(|open| open.address.as_ref() == Some(&metrics.listen)) {
            return Ok(Some(open.clone()));
        }
        let leaving: Vec<_> =
            open.into_iter().filter(|open| open.shares_port(&metrics.listen)).map(|open| &**open).collect();
        listen::beside(&metrics.listen, config, &leaving).map(|opened| Some(Rc::new(opened)))
    }

    /// Starts what `generation` wants at `listening`, without changing what is in force.
    pub(crate) async fn prepare(
        &self,
        generation: &Generation,
        listening: Option<Rc<Listening>>,
    ) -> Result<Change, ServiceError> {
        let Some(listening) = listening else { return Ok(Change::Replaces(None)) };
        let setup = setup_of(generation)?;
        let stays = |running: &Running| {
            Rc::ptr_eq(&running.listening, &listening) && running.setup.as_ref() == Some(&setup)
        };
        if self.0.borrow().as_ref().is_some_and(stays) {
            return Ok(Change::Stays);
        }
        let role = start(&setup, |level| generation.confinement.admit(level)).await?;
        give(&role, &listening).await?;
        let running = Running::new(&generation.service, listening, Some(setup), role, Vec::new());
        Ok(Change::Replaces(Some(Box::new(Replacement(running)))))
    }

    /// Brings a change into force.
    pub(crate) fn apply(&self, change: Change, config: &Config) {
        if let Change::Replaces(replacement) = change {
            if let Some(before) = self.0.replace(replacement.map(|boxed| boxed.0)) {
                spawn_local(async move {
                    sleep(LAST_ANSWERS).await;
                    drop(before);
                });
            }
        }
        if let Some(running) = &*self.0.borrow() {
            running.listening.set_mode(config.listen_mode);
        }
    }

    /// Goes on with what an earlier image has left.
    /// `wanted` are the questions that it has not answered.
    pub(crate) fn adopt(
        &self,
        service: &Rc<Service>,
        listening: Listening,
        role: Option<Role>,
        wanted: Vec<Page>,
    ) {
        let listening = Rc::new(listening);
        let running = match role {
            Some(role) => Running::new(service, listening, None, role, wanted),
            // Whoever asks waits for the one that the reload brings.
            None => Running {
                listening,
                setup: None,
                handle: Rc::default(),
                wanted: Rc::default(),
                _keeper: JoinSet::new(),
            },
        };
        self.0.replace(Some(running));
    }

    /// What the next image needs: the listener, the process, and the questions that it has not answered.
    pub(crate) fn hand_on(&self) -> Option<(Rc<Listening>, Option<Handle>, Vec<Page>)> {
        let running = self.0.borrow();
        let running = running.as_ref()?;
        let wanted = running.wanted.pages.borrow().iter().copied().collect();
        Some((running.listening.clone(), running.handle.borrow().clone(), wanted))
    }

    /// Ends it.
    pub(crate) fn end(&self) {
        self.0.replace(None);
    }
}

impl Running {
    fn new(
        service: &Rc<Service>,
        listening: Rc<Listening>,
        setup: Option<ExporterSetup>,
        role: Role,
        wanted: Vec<Page>,
    ) -> Self {
        let handle = Rc::new(RefCell::new(Some(role.handle())));
        let wanted = Rc::new(Wanted { pages: RefCell::new(wanted.into()), more: Notify::new() });
        let mut keeper = JoinSet::new();
        let known = (handle.clone(), wanted.clone());
        keeper.spawn_local(keep(service.clone(), setup.clone(), listening.clone(), known, role));
        Self { listening, setup, handle, wanted, _keeper: keeper }
    }
}

fn setup_of(generation: &Generation) -> Result<ExporterSetup, ServiceError> {
    Ok(ExporterSetup { run_as: generation.setups()?.run_as, sandbox: generation.config.sandbox })
}

/// Shows that one could be started.
pub(crate) async fn rehearse(generation: &Generation) -> Result<(), ServiceError> {
    if generation.config.metrics.is_none() {
        return Ok(());
    }
    start(&setup_of(generation)?, |level| generation.confinement.admit(level)).await.map(drop)
}

/// Starts the role and waits until it is ready. `admit` judges how far it is confined.
async fn start(
    setup: &ExporterSetup,
    admit: impl FnOnce(Level) -> Result<(), String>,
) -> Result<Role, ServiceError> {
    let role = Role::start("exporter", setup.sandbox)?;
    let prepared = async {
        role.channel.send(&SupervisorToExporter::Setup(setup::file(setup)?)).await?;
        role.channel.receive::<ExporterToSupervisor>().await
    };
    let failed = |reason: String| ServiceError::Role { role: "exporter", reason };
    match timeout(role::START_DEADLINE, prepared).await {
        Ok(Ok(ExporterToSupervisor::Ready(level))) => admit(level).map(|()| role).map_err(failed),
        Ok(Ok(_)) => Err(failed("it spoke before it was ready".into())),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("not ready in time".into())),
    }
}

async fn give(role: &Role, listening: &Listening) -> Result<(), ServiceError> {
    let listener = SupervisorToExporter::Listener(listening.socket.try_clone()?);
    let failed = |error: ChannelError| ServiceError::Role { role: "exporter", reason: error.to_string() };
    role.channel.send(&listener).await.map_err(failed)
}

/// Answers the exporter, and when it has died starts another at the same listener.
async fn keep(
    service: Rc<Service>,
    setup: Option<ExporterSetup>,
    listening: Rc<Listening>,
    (handle, wanted): (Rc<RefCell<Option<Handle>>>, Rc<Wanted>),
    first: Role,
) {
    let mut backoff = Backoff::new();
    let mut started = Some(first);
    while let Some(role) = started.take() {
        let since = Instant::now();
        let reason = serve(&service, &role.channel, &wanted).await;
        handle.replace(None);
        wanted.pages.take();
        let pid = role.process.pid;
        let status = role.process.kill().await;
        if service.stopping.get() {
            return;
        }
        tracing::error!(
            target: "websockify::exporter",
            message_id = message_id::ROLE_DIED,
            websockify_role = "exporter",
            websockify_worker_pid = pid,
            "the exporter (pid {pid}) is gone ({reason}; {}); starting another",
            role::describe(status),
        );
        // One of an earlier image is replaced by the reload that follows an upgrade.
        let Some(setup) = &setup else { return };
        while started.is_none() {
            backoff.pause(since.elapsed()).await;
            let judge = |level| match service.generations.current() {
                Some(generation) => generation.confinement.admit(level),
                None => Ok(()),
            };
            let again = async {
                let role = start(setup, judge).await?;
                give(&role, &listening).await?;
                Ok::<_, ServiceError>(role)
            };
            match again.await {
                Ok(role) => {
                    handle.replace(Some(role.handle()));
                    started = Some(role);
                }
                Err(error) => tracing::error!(target: "websockify::exporter", "{error}; trying again"),
            }
        }
    }
}

/// Answers an exporter until it ends; says why.
async fn serve(service: &Rc<Service>, channel: &Channel, wanted: &Wanted) -> String {
    let pulse = Pulse::default();
    let hangs = async {
        // Whoever asks for metrics wakes us anyway, so this does not wait for clients.
        while !liveness::is_silent(pulse.ask(channel, &SupervisorToExporter::Ping)).await {
            sleep(liveness::INTERVAL).await;
        }
    };
    tokio::select! {
        reason = hear(channel, wanted, &pulse) => reason,
        error = answer(service, channel, wanted) => error.to_string(),
        () = hangs => "it hangs".into(),
    }
}

/// What it was asked for and has not been given, oldest first.
#[derive(Debug, Default)]
struct Wanted {
    pages: RefCell<VecDeque<Page>>,
    more: Notify,
}

/// Takes what the exporter says, until that is something that it can't say.
async fn hear(channel: &Channel, wanted: &Wanted, pulse: &Pulse) -> String {
    loop {
        match channel.receive().await {
            Ok(ExporterToSupervisor::Wanted(page)) => {
                let mut pages = wanted.pages.borrow_mut();
                if pages.len() >= Page::MAX_WANTED {
                    return "protocol violation: more questions than it may have".into();
                }
                pages.push_back(page);
                wanted.more.notify_one();
            }
            Ok(ExporterToSupervisor::Pong) => pulse.heard(),
            Ok(ExporterToSupervisor::Ready(_)) => unreachable!("the channel accepts it once"),
            Err(error) => return error.to_string(),
        }
    }
}

/// Gives it what it wants.
async fn answer(service: &Rc<Service>, channel: &Channel, wanted: &Wanted) -> ChannelError {
    loop {
        let Some(page) = wanted.pages.borrow().front().copied() else {
            wanted.more.notified().await;
            continue;
        };
        let (is_well, text) = match page {
            Page::Metrics => (true, metrics::text(service).await),
            Page::Health => health(service),
        };
        let sent = match file(&text) {
            Ok(text) => {
                let page = SupervisorToExporter::Page { is_well, text };
                timeout(READ_DEADLINE, channel.send(&page)).await.unwrap_or(Err(ChannelError::Closed))
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = sent {
            return error;
        }
        wanted.pages.borrow_mut().pop_front();
        sleep(PAUSE).await;
    }
}

fn file(text: &str) -> io::Result<OwnedFd> {
    memory_file::sealed(text.as_bytes())
}

/// Whether clients can be served, and a line that says it.
fn health(service: &Service) -> (bool, String) {
    let can_serve = service.generations.current().is_some_and(|generation| generation.can_serve());
    if service.draining.get() || service.stopping.get() {
        (false, "nobody is let in any more\n".into())
    } else if !can_serve {
        (false, "a process that clients need is being started again\n".into())
    } else {
        (true, "ok\n".into())
    }
}
