//! State that the requests of all gateways share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use common::ipc::channel::Channel;
use common::ipc::connector::Dialled;
use common::ipc::setup::ConnectorSetup;
use common::ipc::{ConnectionId, GatewayId};
use common::ticket::{SpentTickets, Ticket, TicketError};
use tokio::sync::Notify;

use super::policy::Policy;
use super::turns::Turns;
use super::under_way::UnderWay;

/// The state of a connector.
pub(super) struct Connector {
    pub(super) setup: ConnectorSetup,
    pub(super) policy: Policy,
    pub(super) supervisor: Channel,
    pub(super) turns: Turns,
    /// The tickets that were used.
    pub(super) spent: RefCell<SpentTickets>,
    /// The requests in progress, and the connections that are over.
    pub(super) under_way: UnderWay,
    /// Results of dialling that wait to be sent to the supervisor. Each of them took a ticket.
    pub(super) dialled: RefCell<Vec<Dialled>>,
    /// Gateways that have broken protocol and have to be reported.
    pub(super) accused: RefCell<BTreeMap<GatewayId, String>>,
    /// Whether the supervisor waits for a pong.
    pub(super) asked: Cell<bool>,
    pub(super) more_to_tell: Rc<Notify>,
}

impl Connector {
    /// Uses the ticket that a gateway has presented. It can't be used again.
    pub(super) fn honour(&self, ticket: &Ticket, gateway: GatewayId) -> Result<(), TicketError> {
        ticket.verify(&self.setup.ticket_key, gateway)?;
        self.spent.borrow_mut().take(&ticket.claims)
    }

    /// Gives these connections no target from now on, and confirms that to the supervisor.
    pub(super) fn forget(&self, ids: &[ConnectionId]) {
        for id in ids {
            self.spent.borrow_mut().forget(*id);
            self.under_way.settle(*id);
        }
    }

    /// Queues the result of dialling a target.
    pub(super) fn tell_dialled(&self, dialled: Dialled) {
        self.dialled.borrow_mut().push(dialled);
        self.more_to_tell.notify_one();
    }

    /// Queues the report of a gateway that has broken protocol.
    pub(super) fn accuse(&self, gateway: GatewayId, what: String) {
        self.accused.borrow_mut().entry(gateway).or_insert(what);
        self.more_to_tell.notify_one();
    }
}

/// Cuts a text to the length that a message allows.
pub(super) fn bounded(mut text: String) -> String {
    let end = (0..=Dialled::MAX_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    text
}
