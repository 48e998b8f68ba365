//! State shared by the requests of all gateways.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::ipc::admission::{AdmissionRequest, ClientFacts, ConnectorToGateway};
use common::ipc::channel::Channel;
use common::ipc::connector::{Dialled, Offender};
use common::ipc::lookup::PluginKind;
use common::ipc::setup::ConnectorSetup;
use common::ipc::sources::SourceVerdict;
use common::ipc::uses::Reservation;
use common::ipc::{ConnectionId, GatewayId};
use common::ticket::{SpentTickets, Ticket, TicketError};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::admitted::{Admitted, AdmittedSessions};
use super::by_root::{ForConnection, RootSockets};
use super::client_request::ClientRequest;
use super::grant::Grant;
use super::policy::Policy;
use super::questions::Questions;
use super::target::Target;
use super::turns::Turns;
use super::under_way::UnderWay;
use super::waiting::WaitingRooms;

/// Time limit for a gateway to read an answer. After that it counts as hung.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// A gateway, which sends requests and receives answers.
pub(super) struct Gateway {
    pub(super) id: GatewayId,
    pub(super) channel: Channel,
}

impl Gateway {
    /// Sends an answer, which the gateway must read within [`ANSWER_DEADLINE`].
    pub(super) async fn give(&self, connector: &Connector, answer: ConnectorToGateway) {
        // An error means that the gateway is gone, and is ignored.
        if timeout(ANSWER_DEADLINE, self.channel.send(&answer)).await.is_err() {
            connector.report_violation(self.id, "it does not read its answers".into());
        }
    }
}

/// The state of a connector.
pub(super) struct Connector {
    pub(super) setup: ConnectorSetup,
    pub(super) policy: Policy,
    pub(super) supervisor: Rc<Channel>,
    /// What only root may connect to; none if this process has the supervisor's user.
    pub(super) by_root: Option<RootSockets>,
    /// Uses of tokens.
    pub(super) reservations: Questions<Reservation>,
    /// Uses of all tokens are reserved, as some tokens were revoked.
    pub(super) reserves_all: Cell<bool>,
    /// Targets whose sessions are limited.
    pub(super) targets: Questions<bool>,
    /// Sources of clients for which proxies vouch.
    pub(super) sources: Questions<SourceVerdict>,
    /// Sessions whose tokens are asked about again.
    pub(super) admitted: AdmittedSessions,
    pub(super) turns: Turns,
    /// Clients that wait for their targets.
    pub(super) rooms: WaitingRooms,
    /// The spent tickets.
    pub(super) spent: RefCell<SpentTickets>,
    /// Requests in progress, and connections that are settled.
    pub(super) under_way: UnderWay,
    /// Results of dialling that are not reported yet. Each of them has spent a ticket.
    pub(super) dialled: RefCell<Vec<Dialled>>,
    /// Clients to be penalised that are not reported yet. Each of them has spent a ticket.
    pub(super) offenders: RefCell<Vec<Offender>>,
    /// Gateways that have broken protocol and are not reported yet.
    pub(super) violations: RefCell<BTreeMap<GatewayId, String>>,
    /// The supervisor waits for a pong.
    pub(super) owes_pong: Cell<bool>,
    pub(super) has_reports: Rc<Notify>,
}

impl Connector {
    /// Verifies and spends the ticket of a gateway's request.
    pub(super) fn redeem(&self, ticket: &Ticket, gateway: GatewayId) -> Result<(), TicketError> {
        ticket.verify(&self.setup.ticket_key, gateway)?;
        self.spent.borrow_mut().take(&ticket.claims)
    }

    /// Whether a gateway may name another client than that of the ticket, if it does.
    pub(super) fn may_be_vouched(&self, request: &AdmissionRequest) -> bool {
        request.facts.vouched.is_none() || request.ticket.claims.client.is_in(&self.setup.trusted)
    }

    /// Denies further targets to these connections, and queues the confirmation for the supervisor.
    pub(super) fn forget(&self, ids: &[ConnectionId]) {
        for id in ids {
            self.spent.borrow_mut().forget(*id);
            self.under_way.settle(*id);
        }
    }

    /// The right to ask for a socket that only root may connect to.
    pub(super) fn by_root(&self, id: ConnectionId) -> Option<ForConnection<'_>> {
        self.by_root.as_ref().map(|sockets| sockets.for_connection(id))
    }

    /// Queues the result of dialling a target.
    pub(super) fn report_dialled(&self, dialled: Dialled) {
        self.dialled.borrow_mut().push(dialled);
        self.has_reports.notify_one();
    }

    /// Remembers a session that begins, if its token is to be asked about again.
    pub(super) fn remember(
        &self,
        id: ConnectionId,
        token: Option<&str>,
        request: &ClientRequest<'_>,
        target: &Target,
        grant: &Grant,
    ) {
        let (Some(token), Some(_)) = (token, self.setup.recheck) else { return };
        let facts = match self.policy.external_plugin(PluginKind::Targets) {
            Some(_) => request.facts.clone(),
            None => ClientFacts { token: request.facts.token.clone(), ..ClientFacts::default() },
        };
        let admitted = Admitted {
            token: token.to_owned(),
            client: request.client.clone(),
            proxy: request.proxy.cloned(),
            facts,
            target: target.to_string(),
            user: grant.user.clone(),
            is_recorded: self.setup.record && grant.terms.record != Some(false),
            began: Instant::now(),
        };
        self.admitted.add(id, admitted);
    }

    /// Queues the report of a client that is to be penalised.
    pub(super) fn report_offender(&self, offender: Offender) {
        self.offenders.borrow_mut().push(offender);
        self.has_reports.notify_one();
    }

    /// Queues a report of a gateway that has broken protocol.
    pub(super) fn report_violation(&self, gateway: GatewayId, what: String) {
        self.violations.borrow_mut().entry(gateway).or_insert(what);
        self.has_reports.notify_one();
    }
}

/// Truncates a text to the length that a message allows.
pub(super) fn bounded(mut text: String) -> String {
    let end = (0..=Dialled::MAX_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    text
}
