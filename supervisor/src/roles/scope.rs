//! What the roles of one generation have in common.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use common::config::Sandbox;

use super::confinement::Confinement;
use super::host::{Event, Host};
use super::identity::Identity;
use super::peer::Peer;
use super::setup::{Origin, Outdated, Setups};
use crate::state::service::ServiceState;

/// What the roles of one generation have in common.
#[derive(Debug)]
pub(crate) struct Scope {
    /// The number of the generation.
    pub(crate) generation: u32,
    pub(crate) state: Rc<ServiceState>,
    pub(crate) origin: Origin,
    pub(crate) sandbox: Sandbox,
    /// How far the roles are confined.
    pub(crate) confinement: Rc<Confinement>,
    /// The connector, while it is ready.
    pub(crate) connector: RefCell<Option<Rc<Peer>>>,
    /// The certificate and its signer, while there is one.
    pub(crate) identity: RefCell<Option<Rc<Identity>>>,
    /// A later generation has taken its place: it only keeps the connections that it has.
    pub(crate) retired: Cell<bool>,
    pub(crate) host: Weak<dyn Host>,
}

impl Scope {
    /// What the roles are told at their start.
    pub(crate) fn setups(&self) -> Result<&Setups, Outdated> {
        match &self.origin {
            Origin::Started(setups) => Ok(setups),
            Origin::Adopted => Err(Outdated),
        }
    }

    /// Whether a role that has ended is started again.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.state.stopping.get() && !self.retired.get() && matches!(self.origin, Origin::Started(_))
    }

    /// Reports to the generation, which is gone when nobody needs to know any more.
    pub(crate) fn report(&self, event: Event) {
        if let Some(host) = self.host.upgrade() {
            host.report(event);
        }
    }
}
