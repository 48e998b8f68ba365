//! State that the roles of one generation share.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use common::config::Sandbox;

use super::confinement::Confinement;
use super::host::{Event, Host};
use super::identity::Identity;
use super::peer::Peer;
use super::setup::{Origin, Outdated, Setups};
use crate::state::service::ServiceState;

/// State that the roles of one generation share.
#[derive(Debug)]
pub(crate) struct Scope {
    /// Number of the generation.
    pub(crate) generation: u32,
    pub(crate) state: Rc<ServiceState>,
    pub(crate) origin: Origin,
    pub(crate) sandbox: Sandbox,
    /// Confinement of the roles.
    pub(crate) confinement: Rc<Confinement>,
    /// The connector while it is ready.
    pub(crate) connector: RefCell<Option<Rc<Peer>>>,
    /// The certificate and its signer, if there is one.
    pub(crate) identity: RefCell<Option<Rc<Identity>>>,
    /// A later generation is in force. This one only keeps its connections.
    pub(crate) retired: Cell<bool>,
    pub(crate) host: Weak<dyn Host>,
}

impl Scope {
    /// The setups with which roles are started.
    pub(crate) fn setups(&self) -> Result<&Setups, Outdated> {
        match &self.origin {
            Origin::Started(setups) => Ok(setups),
            Origin::Adopted { .. } => Err(Outdated),
        }
    }

    /// Whether a role that has ended is started again.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.state.stopping.get() && !self.retired.get() && matches!(self.origin, Origin::Started(_))
    }

    /// Reports an event to the generation. Ignored if the generation is gone.
    pub(crate) fn report(&self, event: Event) {
        if let Some(host) = self.host.upgrade() {
            host.report(event);
        }
    }
}
