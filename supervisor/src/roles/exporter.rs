//! The exporter: serves metrics and health on listeners of its own.
//!
//! The exporter belongs to the service, not to a generation: counters outlive reloads, and a reload that does not
//! concern the exporter does not restart it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::time::Duration;

use common::ipc::exporter::{ExporterToSupervisor, Page, Protocol, SupervisorToExporter};
use common::ipc::setup::{self, ExporterSetup};
use common::role::RoleName;
use common::sys::memory_file;
use tokio::time::timeout;

use super::confinement::Confinement;
use super::host::{Event, Host};
use super::liveness::Watch;
use super::peer::{Fault, Peer, Role};
use super::role_output::About;
use super::scope::Scope;
use super::setup::Outdated;
use super::supervise::{self, First, Keeper, Launch, RoleError, Spec, StartError};
use crate::state::service::ServiceState;

/// Time limit for the exporter to read a page.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// The specification of the exporter.
#[derive(Debug)]
pub(crate) struct ExporterSpec {
    pub(crate) state: Rc<ServiceState>,
    pub(crate) confinement: Rc<Confinement>,
    /// `None` if an earlier image has started it.
    pub(crate) setup: Option<ExporterSetup>,
    /// The listeners on which it accepts connections; none for a trial run, or once it is retired.
    listeners: RefCell<Vec<(Protocol, OwnedFd)>>,
    /// The part of the supervisor that generates the pages.
    pub(crate) host: Weak<dyn Host>,
    /// Requested pages that have not been delivered yet, oldest first.
    pub(crate) wanted: RefCell<VecDeque<Page>>,
    /// The exporter while it runs.
    peer: RefCell<Option<Rc<Peer>>>,
}

/// The setup of an exporter under this generation.
pub(crate) fn setup_of(scope: &Scope) -> Result<ExporterSetup, Outdated> {
    Ok(ExporterSetup { run_as: scope.setups()?.run_as, sandbox: scope.sandbox })
}

impl ExporterSpec {
    /// Creates the specification. `wanted` are requests that an earlier image has not answered.
    pub(crate) fn new(
        state: Rc<ServiceState>,
        confinement: Rc<Confinement>,
        setup: Option<ExporterSetup>,
        listeners: Vec<(Protocol, OwnedFd)>,
        host: Weak<dyn Host>,
        wanted: Vec<Page>,
    ) -> Rc<Self> {
        let (wanted, listeners) = (RefCell::new(wanted.into()), RefCell::new(listeners));
        Rc::new(Self { state, confinement, setup, listeners, host, wanted, peer: RefCell::default() })
    }

    /// Starts the exporter and keeps it running.
    pub(crate) async fn start(self: &Rc<Self>) -> Result<Keeper, RoleError> {
        let role = supervise::start(&**self).await?;
        Ok(Keeper::new(self.clone(), Some(role)))
    }

    /// Takes over an exporter that an earlier image has started.
    pub(crate) fn adopt(self: &Rc<Self>, role: Role) -> Keeper {
        self.peer.replace(Some(role.peer.clone()));
        if !self.wanted.borrow().is_empty() {
            self.report(Event::PageWanted);
        }
        Keeper::new(self.clone(), Some(role))
    }

    /// The exporter while it runs.
    pub(crate) fn peer(&self) -> Option<Rc<Peer>> {
        self.peer.borrow().clone()
    }

    /// Makes the exporter accept no more connections.
    pub(crate) fn retire(&self) {
        self.listeners.take();
        if let Some(peer) = self.peer() {
            // If it does not read this, the connections that it accepts last are cut.
            let _ = peer.channel.try_send(&SupervisorToExporter::Retire);
        }
    }

    /// Delivers the oldest requested page. An exporter that does not read it is killed.
    pub(crate) async fn answer(&self, is_well: bool, text: &str) {
        let Some(peer) = self.peer() else { return };
        let fault = match memory_file::sealed(text.as_bytes()) {
            Ok(text) => {
                let page = SupervisorToExporter::Page { is_well, text };
                match timeout(READ_DEADLINE, peer.channel.send(&page)).await {
                    Ok(sent) => sent.err().map(Fault::from),
                    Err(_) => Some(Fault::Hung),
                }
            }
            Err(error) => Some(Fault::Channel(error.into())),
        };
        match fault {
            Some(fault) => peer.kill_for_fault(fault),
            None => drop(self.wanted.borrow_mut().pop_front()),
        }
    }

    fn report(&self, event: Event) {
        if let Some(host) = self.host.upgrade() {
            host.report(event);
        }
    }
}

impl Launch for ExporterSpec {
    const NAME: RoleName = RoleName::Exporter;

    fn confinement(&self) -> Option<&Confinement> {
        Some(&self.confinement)
    }

    fn spawn(&self) -> io::Result<Role> {
        let sandbox = self.setup.as_ref().map(|setup| setup.sandbox).unwrap_or_default();
        Role::spawn(Self::NAME, sandbox, "the exporter".into(), About::Itself)
    }

    async fn set_up(&self, peer: &Peer) -> Result<(), StartError> {
        let setup = setup::file(self.setup.as_ref().ok_or(Outdated)?)?;
        Ok(peer.channel.send(&SupervisorToExporter::Setup(setup)).await?)
    }

    async fn first(&self, peer: &Peer) -> Result<First, StartError> {
        Ok(match peer.channel.receive().await? {
            ExporterToSupervisor::Ready(level) => First::Ready(level),
            _ => First::Failed("it sent a message before it was ready".into()),
        })
    }

    async fn introduce(&self, peer: &Rc<Peer>) -> Result<(), StartError> {
        let duplicate = |(protocol, socket): &(Protocol, OwnedFd)| Ok((*protocol, socket.try_clone()?));
        let listeners: Vec<_> = self.listeners.borrow().iter().map(duplicate).collect::<io::Result<_>>()?;
        for (protocol, socket) in listeners {
            peer.channel.send(&SupervisorToExporter::Listener { protocol, socket }).await?;
        }
        self.peer.replace(Some(peer.clone()));
        Ok(())
    }
}

impl Spec for ExporterSpec {
    const WATCH: Watch = Watch::Always;
    type Up = ExporterToSupervisor;

    fn state(&self) -> &Rc<ServiceState> {
        &self.state
    }

    fn take(&self, peer: &Rc<Peer>, message: ExporterToSupervisor) -> Result<(), Fault> {
        match message {
            ExporterToSupervisor::Wanted(page) => {
                if self.wanted.borrow().len() >= Page::MAX_WANTED {
                    return Err(Fault::Violation("more requests than allowed".into()));
                }
                self.wanted.borrow_mut().push_back(page);
                self.report(Event::PageWanted);
            }
            ExporterToSupervisor::Pong => peer.pulse.heard(),
            ExporterToSupervisor::Ready(_) => return Err(Fault::out_of_turn()),
        }
        Ok(())
    }

    async fn ping(&self, peer: &Peer) {
        peer.pulse.ping(&peer.channel, &SupervisorToExporter::Ping).await;
    }

    async fn clean_up(&self, _: &Rc<Peer>) -> Option<String> {
        self.peer.replace(None);
        self.wanted.take();
        Some(String::new())
    }

    fn is_wanted(&self) -> bool {
        !self.state.stopping.get() && self.setup.is_some()
    }
}
