//! What the requests of all gateways share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use common::ipc::GatewayId;
use common::ipc::channel::Channel;
use common::ipc::connector::Dialled;
use common::ipc::setup::ConnectorSetup;
use common::ticket::{SpentTickets, Ticket, TicketError};
use tokio::sync::{Notify, Semaphore};

use super::policy::Policy;

/// A connector.
pub(super) struct Connector {
    pub(super) setup: ConnectorSetup,
    pub(super) policy: Policy,
    pub(super) supervisor: Channel,
    pub(super) dialling: Semaphore,
    /// The tickets that can't be used again.
    pub(super) used: RefCell<SpentTickets>,
    /// What the supervisor is still to be told. Each entry took a ticket.
    pub(super) dialled: RefCell<Vec<Dialled>>,
    /// Gateways that break protocol, which the supervisor is still to be told.
    pub(super) accused: RefCell<BTreeMap<GatewayId, String>>,
    /// The supervisor asks whether we are there.
    pub(super) asked: Cell<bool>,
    pub(super) more_to_tell: Notify,
}

impl Connector {
    /// Takes a ticket from a gateway, for this one time.
    pub(super) fn honour(&self, ticket: &Ticket, gateway: GatewayId) -> Result<(), TicketError> {
        ticket.verify(&self.setup.ticket_key, gateway)?;
        self.used.borrow_mut().take(&ticket.claims)
    }

    /// Has the supervisor told what came of dialling a target.
    pub(super) fn tell_dialled(&self, dialled: Dialled) {
        self.dialled.borrow_mut().push(dialled);
        self.more_to_tell.notify_one();
    }

    /// Has the supervisor told that a gateway breaks protocol.
    pub(super) fn accuse(&self, gateway: GatewayId, what: String) {
        self.accused.borrow_mut().entry(gateway).or_insert(what);
        self.more_to_tell.notify_one();
    }
}

/// Text that is no longer than the supervisor takes.
pub(super) fn bounded(mut text: String) -> String {
    let end = (0..=Dialled::MAX_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    text
}
