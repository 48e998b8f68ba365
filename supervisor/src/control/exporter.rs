//! The current exporter: its role, its listener, and the pages that it requests.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use common::config::Config;
use common::ipc::exporter::Page;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::metrics;
use crate::path::generation::Generation;
use crate::path::intake::Intake;
use crate::path::listen::{self, ListenError, Listening};
use crate::roles::exporter::{ExporterSpec, setup_of};
use crate::roles::host::{Event, Host};
use crate::roles::peer::{Peer, Role};
use crate::roles::setup::Outdated;
use crate::roles::supervise::{Keeper, RoleError};

/// Pause between two pages, so that a client that requests pages without end takes no time from other
/// clients.
const PAUSE: Duration = Duration::from_millis(10);

/// The exporter of the current configuration, if it has one.
#[derive(Debug)]
pub(crate) struct Exporter {
    intake: Rc<Intake>,
    in_force: RefCell<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    listening: Rc<Listening>,
    /// The role and its keeper; `None` if the role of an earlier image has ended.
    role: Option<(Rc<ExporterSpec>, Keeper)>,
    /// Builds the pages of this role as long as it exists.
    _pages: Rc<Pages>,
}

/// State for the next image of the supervisor.
#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) listening: Rc<Listening>,
    pub(crate) peer: Option<Rc<Peer>>,
    /// Pages that the role has requested and not received, oldest first.
    pub(crate) wanted: Vec<Page>,
}

/// Change of the exporter by a reload.
#[derive(Debug)]
pub(crate) enum Change {
    /// The exporter is kept unchanged.
    Stays,
    /// Another exporter, or none, replaces it.
    Replaces(Option<Box<Replacement>>),
}

/// A started exporter that will replace the current one.
#[derive(Debug)]
pub(crate) struct Replacement(Running);

/// The reason why an exporter can't be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExporterError {
    #[error(transparent)]
    Outdated(#[from] Outdated),
    #[error(transparent)]
    Role(#[from] RoleError),
    #[error("cannot send the listener for metrics to the exporter: {0}")]
    Listener(#[from] std::io::Error),
}

impl Exporter {
    /// Creates an instance without an exporter.
    pub(crate) fn new(intake: Rc<Intake>) -> Self {
        Self { intake, in_force: RefCell::default() }
    }

    /// The listener that `config` requires: the open one if it fits, else a new one.
    pub(crate) fn listen(&self, config: &Config) -> Result<Option<Rc<Listening>>, ListenError> {
        let Some(metrics) = &config.metrics else { return Ok(None) };
        let running = self.in_force.borrow();
        let open = running.as_ref().map(|running| &running.listening);
        if let Some(open) = open.filter(|open| open.address.as_ref() == Some(&metrics.listen)) {
            return Ok(Some(open.clone()));
        }
        let leaving: Vec<_> =
            open.into_iter().filter(|open| open.shares_port(&metrics.listen)).map(|open| &**open).collect();
        listen::beside(&metrics.listen, config, &leaving).map(|opened| Some(Rc::new(opened)))
    }

    /// Starts the exporter of `generation` at `listening`. The current one is not affected.
    pub(crate) async fn prepare(
        &self,
        generation: &Generation,
        listening: Option<Rc<Listening>>,
    ) -> Result<Change, ExporterError> {
        let Some(listening) = listening else { return Ok(Change::Replaces(None)) };
        let setup = setup_of(&generation.scope)?;
        let stays = |running: &Running| {
            let role = running.role.as_ref();
            Rc::ptr_eq(&running.listening, &listening)
                && role.is_some_and(|(spec, _)| spec.setup.as_ref() == Some(&setup))
        };
        if self.in_force.borrow().as_ref().is_some_and(stays) {
            return Ok(Change::Stays);
        }
        let pages = Pages::new(&self.intake);
        let (state, confinement) = (generation.scope.state.clone(), generation.scope.confinement.clone());
        let socket = Some(listening.socket.try_clone()?);
        let spec = ExporterSpec::new(state, confinement, Some(setup), socket, pages.host(), Vec::new());
        pages.spec.replace(Rc::downgrade(&spec));
        let keeper = spec.start().await?;
        let running = Running { listening, role: Some((spec, keeper)), _pages: pages };
        Ok(Change::Replaces(Some(Box::new(Replacement(running)))))
    }

    /// Puts a change into force.
    pub(crate) fn apply(&self, change: Change, config: &Config) {
        if let Change::Replaces(replacement) = change {
            let before = self.in_force.replace(replacement.map(|boxed| boxed.0));
            if let Some(Running { role: Some((_, keeper)), .. }) = before {
                keeper.end_later();
            }
        }
        if let Some(running) = &*self.in_force.borrow() {
            running.listening.set_mode(config.listen_mode);
        }
    }

    /// Starts an exporter of `generation` and ends it again, to check that it can be started.
    pub(crate) async fn rehearse(generation: &Generation) -> Result<(), ExporterError> {
        if generation.config.metrics.is_none() {
            return Ok(());
        }
        let setup = setup_of(&generation.scope)?;
        let (state, confinement) = (generation.scope.state.clone(), generation.scope.confinement.clone());
        let nobody: Weak<dyn Host> = Weak::<Pages>::new();
        let spec = ExporterSpec::new(state, confinement, Some(setup), None, nobody, Vec::new());
        spec.start().await?;
        Ok(())
    }

    /// Takes over the exporter of an earlier image. `wanted` are the pages that the role has not received. Without a
    /// role, clients wait for the one that the reload starts.
    pub(crate) fn adopt(
        &self,
        generation: &Generation,
        listening: Listening,
        role: Option<Role>,
        wanted: Vec<Page>,
    ) {
        let pages = Pages::new(&self.intake);
        let role = role.map(|role| {
            let (state, confinement) = (generation.scope.state.clone(), generation.scope.confinement.clone());
            let spec = ExporterSpec::new(state, confinement, None, None, pages.host(), wanted);
            pages.spec.replace(Rc::downgrade(&spec));
            let keeper = spec.adopt(role);
            (spec, keeper)
        });
        self.in_force.replace(Some(Running { listening: Rc::new(listening), role, _pages: pages }));
    }

    /// State for the next image; `None` without an exporter.
    pub(crate) fn snapshot(&self) -> Option<Handover> {
        let running = self.in_force.borrow();
        let running = running.as_ref()?;
        let spec = running.role.as_ref().map(|(spec, _)| spec);
        let wanted = spec.map(|spec| spec.wanted.borrow().iter().copied().collect()).unwrap_or_default();
        let peer = spec.and_then(|spec| spec.peer());
        Some(Handover { listening: running.listening.clone(), peer, wanted })
    }

    /// Ends the exporter.
    pub(crate) fn end(&self) {
        self.in_force.replace(None);
    }
}

/// Generates the pages that an exporter requests, one after the other.
#[derive(Debug)]
struct Pages {
    intake: Rc<Intake>,
    spec: RefCell<Weak<ExporterSpec>>,
    is_busy: std::cell::Cell<bool>,
    itself: Weak<Self>,
}

impl Pages {
    fn new(intake: &Rc<Intake>) -> Rc<Self> {
        Rc::new_cyclic(|itself| Self {
            intake: intake.clone(),
            spec: RefCell::default(),
            is_busy: false.into(),
            itself: itself.clone(),
        })
    }

    fn host(self: &Rc<Self>) -> Weak<dyn Host> {
        self.itself.clone()
    }

    async fn answer(self: Rc<Self>) {
        loop {
            let Some(spec) = self.spec.borrow().upgrade() else { break };
            let page = spec.wanted.borrow().front().copied();
            match page {
                Some(Page::Metrics) => spec.answer(true, &metrics::text(&self.intake).await).await,
                Some(Page::Health) => {
                    let (is_well, text) = health(&self.intake);
                    spec.answer(is_well, text).await;
                }
                None => break,
            }
            sleep(PAUSE).await;
        }
        self.is_busy.set(false);
    }
}

impl Host for Pages {
    fn report(&self, event: Event) {
        if let (Event::PageWanted, false, Some(pages)) = (event, self.is_busy.get(), self.itself.upgrade()) {
            self.is_busy.set(true);
            spawn_local(pages.answer());
        }
    }
}

/// Whether clients can be served, and the text of the health page.
fn health(intake: &Intake) -> (bool, &'static str) {
    if intake.state.draining.get() || intake.state.stopping.get() {
        (false, "no more clients are accepted\n")
    } else if !intake.can_serve() {
        (false, "a process that clients need is being restarted\n")
    } else {
        (true, "ok\n")
    }
}
