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

/// The state of a connector.
pub(super) struct Connector {
    pub(super) setup: ConnectorSetup,
    pub(super) policy: Policy,
    pub(super) supervisor: Channel,
    pub(super) dialling: Semaphore,
    /// The tickets that can't be used again.
    pub(super) used: RefCell<SpentTickets>,
    /// Outcomes of dialling that wait to be sent to the supervisor. Each entry took a ticket.
    pub(super) dialled: RefCell<Vec<Dialled>>,
    /// Gateways that broke protocol, which wait to be reported to the supervisor.
    pub(super) accused: RefCell<BTreeMap<GatewayId, String>>,
    /// The supervisor has asked whether we are alive, and waits for the answer.
    pub(super) asked: Cell<bool>,
    pub(super) more_to_tell: Notify,
}

impl Connector {
    /// Redeems a ticket that a gateway has sent. It can't be redeemed again.
    pub(super) fn honour(&self, ticket: &Ticket, gateway: GatewayId) -> Result<(), TicketError> {
        ticket.verify(&self.setup.ticket_key, gateway)?;
        self.used.borrow_mut().take(&ticket.claims)
    }

    /// Queues the outcome of dialling a target for the supervisor.
    pub(super) fn tell_dialled(&self, dialled: Dialled) {
        self.dialled.borrow_mut().push(dialled);
        self.more_to_tell.notify_one();
    }

    /// Queues the violation of a gateway for the supervisor.
    pub(super) fn accuse(&self, gateway: GatewayId, what: String) {
        self.accused.borrow_mut().entry(gateway).or_insert(what);
        self.more_to_tell.notify_one();
    }
}

/// Cuts a text to the length that the supervisor accepts.
pub(super) fn bounded(mut text: String) -> String {
    let end = (0..=Dialled::MAX_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    text
}
