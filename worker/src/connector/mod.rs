//! The connector: decides which target a client gets, and dials it.
//!
//! The connector sees nothing of a client but the facts in its gateway's requests, and treats gateways as hostile. Each
//! request consumes a ticket of the supervisor, so that a gateway can neither obtain more targets than it has
//! clients, nor forge a client's address. A message of a gateway can end that gateway, and nothing else.

mod admitted;
mod answer;
mod auth;
mod by_root;
mod client_request;
mod dial;
mod dialling;
mod endpoint;
mod grant;
mod hashing;
mod http;
mod jose;
mod plugin;
mod policy;
mod program;
mod proxy_header;
mod questions;
mod reach;
mod recheck;
mod site;
mod state;
mod target;
mod token;
mod turns;
mod under_way;
mod waiting;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use common::ipc::admission::{GatewayToConnector, Refusal};
use common::ipc::channel::{Channel, ChannelError};
use common::ipc::connector::{ConnectorToSupervisor, Dialled, MAX_SETTLED, Offender, SupervisorToConnector};
use common::ipc::level::Level;
use common::ipc::lookup::PluginKind;
use common::ipc::setup::{self, ConnectorSetup, Destination};
use common::ipc::{ConnectionId, GatewayId, Violation};
use common::sys::rehearsal::survives;
use common::sys::scheduling;
use common::ticket::SpentTickets;
use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::sleep;

use crate::role;
use crate::sandbox::{self, Profile, Reach, resolver};
use admitted::AdmittedSessions;
use answer::answer;
use by_root::{Answer, RootSockets};
use client_request::RequestKind;
use dialling::refused;
use policy::Policy;
use questions::Questions;
use state::{Connector, Gateway, bounded};
use turns::Turns;
use under_way::UnderWay;
use waiting::WaitingRooms;

/// Maximum number of pending requests of one gateway. Further requests are refused as overload.
const MAX_WAITING: usize = 4096;

/// Time for which results of dialling are batched.
const MAX_DELAY: Duration = Duration::from_millis(8);

/// Time for requests in progress, after a fault that another process must take over.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// Runs the role until the supervisor closes its channel.
///
/// # Errors
///
/// Fails if the supervisor sends an unexpected message, or if the kernel refuses a resource.
pub fn run(control: OwnedFd, log: OwnedFd) -> io::Result<()> {
    role::run(async {
        let supervisor = Channel::new(control)?;
        let Ok(SupervisorToConnector::Setup(file)) = supervisor.receive().await else {
            return Err(role::unexpected("no setup"));
        };
        let setup: ConnectorSetup = setup::read(file)?;
        let policy = match Policy::new(&setup) {
            Ok(policy) => policy,
            Err(why) => {
                // Fails only if the supervisor is gone.
                let _ = supervisor.send(&ConnectorToSupervisor::Failed(why)).await;
                return Ok(());
            }
        };
        if setup.uses_cryptography() {
            role::seed_randomness();
        }
        let reach = Reach::of(&setup);
        let profile = Profile::Connector(&reach);
        if survives(scheduling::do_not_preempt) {
            scheduling::do_not_preempt();
        }
        let level = sandbox::enter(profile, setup.run_as, setup.sandbox)?;
        let log = role::log_to(log, false);
        let has_tokens = matches!(setup.destination, Destination::Tokens(_));
        let has_reports = Rc::new(Notify::new());
        let supervisor = Rc::new(supervisor);
        // With the supervisor's user there is nothing that only the supervisor may do.
        let by_root = setup.run_as.map(|_| RootSockets::new(supervisor.clone()));
        let connector = Connector {
            policy,
            reservations: Questions::new(supervisor.clone()),
            reserves_all: Cell::new(false),
            targets: Questions::new(supervisor.clone()),
            sources: Questions::new(supervisor.clone()),
            admitted: AdmittedSessions::default(),
            supervisor,
            by_root,
            turns: Turns::new(setup.per_target.dials, has_tokens),
            rooms: WaitingRooms::default(),
            spent: RefCell::new(SpentTickets::new(setup.ticket_lifetime)),
            under_way: UnderWay::new(has_reports.clone()),
            dialled: RefCell::default(),
            offenders: RefCell::default(),
            violations: RefCell::default(),
            owes_pong: Cell::new(false),
            has_reports,
            setup,
        };
        let ended = serve(Rc::new(connector), level).await;
        log.flush();
        role::ended(ended)
    })
}

async fn serve(connector: Rc<Connector>, level: Level) -> ChannelError {
    if let Err(error) = connector.supervisor.send(&ConnectorToSupervisor::Ready(level)).await {
        return error;
    }
    spawn_local(send_reports(connector.clone()));
    if let Some(interval) = connector.setup.recheck {
        spawn_local(recheck::keep_asking(connector.clone(), interval));
    }
    for kind in connector.policy.external_plugins() {
        spawn_local(watch_plugin(connector.clone(), kind));
    }
    loop {
        tokio::select! {
            received = connector.supervisor.receive() => match received {
                Ok(message) => connector.obey(message),
                Err(error) => return error,
            },
            () = resolver::moved() => {
                // The client whose request has exposed the fault gets its answer.
                sleep(LAST_ANSWERS).await;
                return ChannelError::Closed;
            }
        }
    }
}

/// Answers the requests of one gateway until it ends or breaks protocol.
async fn serve_gateway(connector: Rc<Connector>, id: GatewayId, channel: Channel) {
    let gateway = Rc::new(Gateway { id, channel });
    // Requests in progress are cancelled when the gateway ends.
    let mut answering = JoinSet::new();
    loop {
        let (kind, request) = match gateway.channel.receive().await {
            Ok(GatewayToConnector::Admit(request)) => (RequestKind::Session, request),
            Ok(GatewayToConnector::Browse(request)) => (RequestKind::Page, request),
            Err(ChannelError::Violation(error)) => return connector.report_violation(id, error.to_string()),
            Err(_) => return,
        };
        while answering.try_join_next().is_some() {}
        let claims = &request.ticket.claims;
        let refusal = match connector.redeem(&request.ticket, id) {
            Ok(()) if !connector.may_be_vouched(&request) => {
                return connector
                    .report_violation(id, "it names a client for which no trusted proxy vouches".into());
            }
            Ok(()) if answering.len() < MAX_WAITING => {
                // Registered before the task runs, as the supervisor may cancel the request until then.
                let begun = connector.under_way.begin(claims.connection);
                answering.spawn_local(answer(connector.clone(), gateway.clone(), kind, request, begun));
                continue;
            }
            Ok(()) => Refusal::Overloaded,
            Err(error) if error.is_violation() => return connector.report_violation(id, error.to_string()),
            Err(_) => Refusal::Stale,
        };
        gateway.give(&connector, refused(claims.connection, refusal)).await;
    }
}

impl Connector {
    /// Handles a message of the supervisor.
    fn obey(self: &Rc<Self>, message: SupervisorToConnector) {
        let what = match &message {
            SupervisorToConnector::Gateway { .. } => "channel to a gateway",
            SupervisorToConnector::Tokens(_) => "tokens",
            SupervisorToConnector::Users(_) => "users",
            SupervisorToConnector::Program(_) => "state of the program",
            SupervisorToConnector::Setup(_) => "setup",
            SupervisorToConnector::Plugin { .. } => "connection to a plugin",
            SupervisorToConnector::Ping => "question",
            SupervisorToConnector::SpentBefore(_) => "list of tickets",
            SupervisorToConnector::Forget(_) | SupervisorToConnector::Ended(_) => "list of connections",
            SupervisorToConnector::SocketFound(_)
            | SupervisorToConnector::Socket { .. }
            | SupervisorToConnector::NoSocket { .. } => "socket",
            SupervisorToConnector::Reserved { .. } | SupervisorToConnector::ReserveAll => "reservation",
            SupervisorToConnector::SourceChecked { .. } => "verdict",
            SupervisorToConnector::TargetClaimed { .. } => "claim",
        };
        let done = match message {
            SupervisorToConnector::Gateway { id, channel } => Channel::new(channel).map(|channel| {
                spawn_local(serve_gateway(self.clone(), id, channel));
            }),
            SupervisorToConnector::Tokens(file) => {
                setup::read(file).map(|files| self.policy.take_tokens(files))
            }
            SupervisorToConnector::Users(file) => {
                setup::read(file).map(|users| self.policy.take_users(users))
            }
            SupervisorToConnector::Program(state) => {
                self.policy.take_program(state);
                Ok(())
            }
            SupervisorToConnector::SpentBefore(file) => {
                setup::read(file).map(|past| self.spent.borrow_mut().follow(past))
            }
            SupervisorToConnector::Setup(_) => unreachable!("the channel accepts one setup"),
            SupervisorToConnector::Plugin { kind, socket } => match self.policy.external_plugin(kind) {
                Some(plugin) => plugin.take_connection(socket),
                None => Err(role::unexpected("there is no such plugin")),
            },
            SupervisorToConnector::Forget(ids) => {
                self.forget(&ids);
                Ok(())
            }
            SupervisorToConnector::Ended(ids) => {
                self.admitted.remove(&ids);
                Ok(())
            }
            SupervisorToConnector::SocketFound(id) => self.take_answer(id, Answer::Found),
            SupervisorToConnector::Socket { id, socket } => self.take_answer(id, Answer::Socket(socket)),
            SupervisorToConnector::NoSocket { id, why } => self.take_answer(id, Answer::Nothing(why)),
            SupervisorToConnector::Reserved { id, answer } => {
                self.reservations.take(id, answer);
                Ok(())
            }
            SupervisorToConnector::ReserveAll => {
                self.reserves_all.set(true);
                Ok(())
            }
            SupervisorToConnector::TargetClaimed { id, is_free } => {
                self.targets.take(id, is_free);
                Ok(())
            }
            SupervisorToConnector::SourceChecked { id, verdict } => {
                self.sources.take(id, verdict);
                Ok(())
            }
            SupervisorToConnector::Ping => {
                self.owes_pong.set(true);
                self.has_reports.notify_one();
                Ok(())
            }
        };
        if let Err(error) = done {
            tracing::error!("cannot take a {what}: {error}");
        }
    }

    fn take_answer(&self, id: ConnectionId, answer: Answer) -> io::Result<()> {
        if let Some(by_root) = &self.by_root {
            by_root.take(id, answer);
        }
        Ok(())
    }

    /// Handles the messages that the supervisor has sent so far. It sends changes before it hands over the
    /// connections that they concern, but on another channel than the one on which gateways send their
    /// requests.
    fn catch_up(self: &Rc<Self>) {
        // Errors are left to the task that receives from the channel.
        while let Ok(Some(message)) = self.supervisor.try_receive() {
            self.obey(message);
        }
    }
}

/// Reports to the supervisor whenever a plugin counts as hung.
async fn watch_plugin(connector: Rc<Connector>, kind: PluginKind) {
    while let Some(plugin) = connector.policy.external_plugin(kind) {
        plugin.hangs().await;
        if connector.supervisor.send(&ConnectorToSupervisor::PluginHangs(kind)).await.is_err() {
            return;
        }
    }
}

/// Reports results of dialling and protocol violations to the supervisor, in batches.
async fn send_reports(connector: Rc<Connector>) {
    loop {
        connector.has_reports.notified().await;
        sleep(MAX_DELAY).await;
        if connector.owes_pong.take()
            && connector.supervisor.send(&ConnectorToSupervisor::Pong).await.is_err()
        {
            return;
        }
        for (gateway, what) in connector.violations.take() {
            let violation = Violation { gateway, what: bounded(what) };
            if connector.supervisor.send(&ConnectorToSupervisor::Violation(violation)).await.is_err() {
                return;
            }
        }
        // Taken together, so that what is known of a connection is sent before it is settled.
        let (offenders, dialled) = (connector.offenders.take(), connector.dialled.take());
        let settled = connector.under_way.take_settled();
        for batch in offenders.chunks(Offender::MAX_BATCH) {
            if connector.supervisor.send(&ConnectorToSupervisor::Offenders(batch.to_vec())).await.is_err() {
                return;
            }
        }
        let mut dialled = dialled.into_iter();
        loop {
            let batch: Vec<_> = dialled.by_ref().take(Dialled::MAX_BATCH).collect();
            if batch.is_empty() {
                break;
            }
            if connector.supervisor.send(&ConnectorToSupervisor::Dialled(batch)).await.is_err() {
                return;
            }
        }
        for batch in settled.chunks(MAX_SETTLED) {
            if connector.supervisor.send(&ConnectorToSupervisor::Settled(batch.to_vec())).await.is_err() {
                return;
            }
        }
    }
}
