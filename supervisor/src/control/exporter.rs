//! The current exporter: its role, its listeners, and the pages that it requests.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use common::addr::ListenAddr;
use common::config::{Config, Metrics};
use common::ipc::exporter::{Page, Protocol};
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
    doors: Vec<Door>,
    /// The role and its keeper; `None` if the role of an earlier image has ended.
    role: Option<(Rc<ExporterSpec>, Keeper)>,
    /// Builds the pages of this role as long as it exists.
    pages: Rc<Pages>,
}

/// A listener, and what it serves.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) protocol: Protocol,
    pub(crate) listening: Rc<Listening>,
}

/// State for the next image of the supervisor.
#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) doors: Vec<Door>,
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
    #[error("cannot send a listener to the exporter: {0}")]
    Listener(#[from] std::io::Error),
}

impl Exporter {
    /// Creates an instance without an exporter.
    pub(crate) fn new(intake: Rc<Intake>) -> Self {
        Self { intake, in_force: RefCell::default() }
    }

    /// The listeners that `config` requires: the open ones where they fit, else new ones.
    pub(crate) fn listen(&self, config: &Config) -> Result<Vec<Door>, ListenError> {
        let running = self.in_force.borrow();
        let open = running.as_ref().map_or(&[][..], |running| &running.doors);
        let required = config.metrics.iter().flat_map(Metrics::listeners);
        let door = |(_, protocol, address): (_, _, &ListenAddr)| {
            let fits =
                |door: &&Door| door.protocol == protocol && door.listening.address.as_ref() == Some(address);
            if let Some(door) = open.iter().find(fits) {
                return Ok(door.clone());
            }
            let leaving = open.iter().filter(|door| door.listening.shares_port(address));
            let leaving: Vec<_> = leaving.map(|door| &*door.listening).collect();
            let listening = Rc::new(listen::beside(address, config, &leaving)?);
            Ok(Door { protocol, listening })
        };
        required.map(door).collect()
    }

    /// Starts the exporter of `generation` at `doors`. The current one is not affected.
    pub(crate) async fn prepare(
        &self,
        generation: &Generation,
        doors: Vec<Door>,
    ) -> Result<Change, ExporterError> {
        if doors.is_empty() {
            return Ok(Change::Replaces(None));
        }
        let setup = setup_of(&generation.scope)?;
        let stays = |running: &Running| {
            let are_same = |(one, other): (&Door, &Door)| Rc::ptr_eq(&one.listening, &other.listening);
            running.doors.len() == doors.len()
                && running.doors.iter().zip(&doors).all(are_same)
                && running.role.as_ref().is_some_and(|(spec, _)| spec.setup.as_ref() == Some(&setup))
        };
        if self.in_force.borrow().as_ref().is_some_and(stays) {
            return Ok(Change::Stays);
        }
        let pages = Pages::new(&self.intake);
        let (state, confinement) = (generation.scope.state.clone(), generation.scope.confinement.clone());
        let socket = |door: &Door| Ok((door.protocol, door.listening.socket.try_clone()?));
        let sockets = doors.iter().map(socket).collect::<std::io::Result<_>>()?;
        let spec = ExporterSpec::new(state, confinement, Some(setup), sockets, pages.host(), Vec::new());
        pages.spec.replace(Rc::downgrade(&spec));
        let keeper = spec.start().await?;
        let running = Running { doors, role: Some((spec, keeper)), pages };
        Ok(Change::Replaces(Some(Box::new(Replacement(running)))))
    }

    /// Puts a change into force.
    pub(crate) fn apply(&self, change: Change, config: &Config) {
        if let Change::Replaces(replacement) = change {
            let before = self.in_force.replace(replacement.map(|boxed| boxed.0));
            if let Some(Running { role: Some((spec, keeper)), pages, .. }) = before {
                spec.retire();
                keeper.end_later(pages);
            }
        }
        if let Some(running) = &*self.in_force.borrow() {
            for door in &running.doors {
                door.listening.set_mode(config.listen_mode);
            }
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
        let spec = ExporterSpec::new(state, confinement, Some(setup), Vec::new(), nobody, Vec::new());
        spec.start().await?;
        Ok(())
    }

    /// Takes over the exporter of an earlier image. `wanted` are the pages that the role has not received. Without a
    /// role, clients wait for the one that the reload starts.
    pub(crate) fn adopt(
        &self,
        generation: &Generation,
        doors: Vec<Door>,
        role: Option<Role>,
        wanted: Vec<Page>,
    ) {
        let pages = Pages::new(&self.intake);
        let role = role.map(|role| {
            let (state, confinement) = (generation.scope.state.clone(), generation.scope.confinement.clone());
            let spec = ExporterSpec::new(state, confinement, None, Vec::new(), pages.host(), wanted);
            pages.spec.replace(Rc::downgrade(&spec));
            let keeper = spec.adopt(role);
            (spec, keeper)
        });
        self.in_force.replace(Some(Running { doors, role, pages }));
    }

    /// State for the next image; `None` without an exporter.
    pub(crate) fn snapshot(&self) -> Option<Handover> {
        let running = self.in_force.borrow();
        let running = running.as_ref()?;
        let spec = running.role.as_ref().map(|(spec, _)| spec);
        let wanted = spec.map(|spec| spec.wanted.borrow().iter().copied().collect()).unwrap_or_default();
        let peer = spec.and_then(|spec| spec.peer());
        Some(Handover { doors: running.doors.clone(), peer, wanted })
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
                Some(Page::Health) => match unready(&self.intake) {
                    None => spec.answer(true, "ok\n").await,
                    Some((_, reason)) => spec.answer(false, &format!("{reason}\n")).await,
                },
                Some(Page::Liveness) => spec.answer(true, "ok\n").await,
                Some(Page::AgentCheck) => spec.answer(true, &agent_check(&self.intake)).await,
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

/// State in which no client should be sent here.
enum Unready {
    /// Open sessions continue.
    Drains,
    /// Clients can't be served.
    Fails,
}

/// Why no client should be sent here, if that is so.
fn unready(intake: &Intake) -> Option<(Unready, &'static str)> {
    if intake.is_ending() {
        Some((Unready::Drains, "the instance drains"))
    } else if !intake.can_serve() {
        Some((Unready::Fails, "a process that clients need is being restarted"))
    } else {
        None
    }
}

/// The answer to HAProxy's agent check. `ready` ends a `drain` of earlier answers. A weight of 0 would be a drain, too,
/// so that a server that is merely full has the least weight that is not.
fn agent_check(intake: &Intake) -> String {
    match unready(intake) {
        None => format!("ready up {}%\n", intake.free_percent().max(1)),
        Some((Unready::Drains, _)) => "drain\n".into(),
        Some((Unready::Fails, reason)) => format!("ready down #{reason}\n"),
    }
}
