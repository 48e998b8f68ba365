//! What the requests of all gateways share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use common::ipc::channel::Channel;
use common::ipc::connector::Dialled;
use common::ipc::setup::ConnectorSetup;
use common::ipc::{ConnectionId, GatewayId};
use common::ticket::{SpentTickets, Ticket, TicketError};
use tokio::sync::{Notify, Semaphore};

use super::policy::Policy;
use super::under_way::UnderWay;

/// The state of a connector.
pub(super) struct Connector {
    pub(super) setup: ConnectorSetup,
    pub(super) policy: Policy,
    pub(super) supervisor: Channel,
    pub(super) dialling: Semaphore,
    /// The tickets that can't be used again.
    pub(super) spent: RefCell<SpentTickets>,
    /// The requests that are being answered, and the connections that are over.
    pub(super) under_way: UnderWay,
    /// Outcomes of dialling that wait to be sent to the supervisor. Each entry took a ticket.
    pub(super) dialled: RefCell<Vec<Dialled>>,
    /// Gateways that broke protocol, which wait to be reported to the supervisor.
    pub(super) accused: RefCell<BTreeMap<GatewayId, String>>,
    /// The supervisor has asked whether we are alive, and waits for the answer.
    pub(super) asked: Cell<bool>,
    pub(super) more_to_tell: Rc<Notify>,
}

impl Connector {
    /// Redeems a ticket that a gateway has sent. It can't be redeemed again.
    pub(super) fn honour(&self, ticket: &Ticket, gateway: GatewayId) -> Result<(), TicketError> {
        ticket.verify(&self.setup.ticket_key, gateway)?;
        self.spent.borrow_mut().take(&ticket.claims)
    }

    /// Gives these connections no target from now on, and has the supervisor told so.
    pub(super) fn forget(&self, ids: &[ConnectionId]) {
        for id in ids {
            self.spent.borrow_mut().forget(*id);
            self.under_way.settle(*id);
        }
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
