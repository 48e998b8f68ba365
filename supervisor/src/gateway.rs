//! The life of a gateway: its start, what it says, and what happens when it dies.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::ipc::channel::{Channel, ChannelError};
use common::ipc::gateway::{Count, GatewayToSupervisor, Report, SessionSummary, SupervisorToGateway};
use common::ipc::request::Requested;
use common::ipc::tally::Tally;
use common::ipc::unwatched::Unwatched;
use common::ipc::{ConnectionId, GatewayId};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::generation::Generation;
use crate::log::{self, message_id};
use crate::role::{self, Backoff, Role};
use crate::service::ServiceError;
use crate::violation::{self, GatewayFault};
use crate::{connector, dispatch, identity, liveness};

/// How long a gateway may leave its channel unread before it counts as hung.
pub(crate) const READ_DEADLINE: Duration = Duration::from_secs(5);

/// So often a gateway says unasked what it has counted: once before its end, and once if an image before an upgrade
/// has asked.
const MAX_UNASKED_TALLIES: u8 = 2;

/// Longest reason of a Close frame with each byte shown as a character that it is not.
const MAX_REASON: usize = 3 * SessionSummary::MAX_REASON;

/// Pause before a question is sent again that found no room.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How long the connector's word about a target may be on its way.
const CONNECTOR_DELAY: Duration = Duration::from_millis(20);

/// A gateway that is ready.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// Its number.
    pub(crate) id: GatewayId,
    /// The channel to it.
    pub(crate) channel: Rc<Channel>,
    /// Where its log comes from.
    pub(crate) log: Rc<Channel>,
    /// Where it says which connections it has begun to read.
    pub(crate) acknowledgements: Unwatched,
    /// Its process id.
    pub(crate) pid: i32,
    /// Connections that it has or is being given.
    pub(crate) load: Cell<u64>,
    /// Who waits for its answers, in their order.
    asked: RefCell<VecDeque<oneshot::Sender<Vec<Count>>>>,
    /// What it has counted, as far as it has said so.
    pub(crate) tally: RefCell<Tally>,
    /// Who waits for it to say so.
    tally_asked: RefCell<Option<oneshot::Sender<()>>>,
    /// How often it has said so unasked.
    unasked_tallies: Cell<u8>,
    /// It was told to end.
    told_to_end: Cell<bool>,
    ended: Notify,
    is_ended: Cell<bool>,
}

/// A gateway's process, for who keeps it alive.
pub(crate) type Started = (Rc<Gateway>, Role);

impl Gateway {
    /// Waits until its process has ended.
    pub(crate) async fn ended(&self) {
        while !self.is_ended.get() {
            self.ended.notified().await;
        }
    }

    /// Tells it to end its sessions and itself. One that is gone or does not read is ended by its keeper,
    /// or when its time is over.
    pub(crate) fn end(&self, how: &SupervisorToGateway) {
        self.told_to_end.set(true);
        let _ = self.channel.try_send(how);
    }

    /// Asks how far connections are, at most [`Count::MAX_BATCH`] of them. Nothing if it has ended.
    pub(crate) async fn count(&self, ids: Vec<ConnectionId>) -> Option<Vec<Count>> {
        let question = SupervisorToGateway::Ask(ids);
        let (sender, answer) = oneshot::channel();
        while !self.channel.try_send(&question).ok()? {
            sleep(RETRY_PAUSE).await;
        }
        self.asked.borrow_mut().push_back(sender);
        answer.await.ok()
    }

    /// Asks what it has counted, and waits until it has said so. One that is being asked is not asked again.
    pub(crate) async fn refresh_tally(&self) {
        if self.tally_asked.borrow().is_some() {
            return;
        }
        // One without room for a question is busy.
        if !matches!(self.channel.try_send(&SupervisorToGateway::AskTally), Ok(true)) {
            return;
        }
        let (sender, answer) = oneshot::channel();
        self.tally_asked.replace(Some(sender));
        // One that has ended has said what it had to say.
        let _ = answer.await;
    }

    /// Takes what it has counted: the answer to a question, or its last word.
    fn take_tally(&self, tally: Tally) -> Result<(), GatewayFault> {
        let asked = self.tally_asked.take();
        if asked.is_none() {
            self.unasked_tallies.set(self.unasked_tallies.get() + 1);
        }
        if !tally.is_possible() || self.unasked_tallies.get() > MAX_UNASKED_TALLIES {
            return Err(GatewayFault::OutOfTurn);
        }
        self.tally.replace(tally);
        if let Some(asked) = asked {
            // Who has given up meanwhile needs no answer.
            let _ = asked.send(());
        }
        Ok(())
    }

    /// Answers that are still to come.
    pub(crate) fn asked_for(&self) -> usize {
        self.asked.borrow().len()
    }

    /// Gives an answer to who has asked first.
    fn take_answer(&self, counts: Vec<Count>) -> Result<(), GatewayFault> {
        let sender = self.asked.borrow_mut().pop_front().ok_or(GatewayFault::OutOfTurn)?;
        // Who has given up meanwhile needs no answer.
        let _ = sender.send(counts);
        Ok(())
    }

    /// What it has used of a processor so far.
    pub(crate) fn processor_time(&self) -> Duration {
        clock_getcpuclockid(Pid::from_raw(self.pid)).and_then(ClockId::now).map_or(Duration::ZERO, Into::into)
    }
}

/// Ends a gateway; its keeper clears up behind it. Says whether it was still there.
pub(crate) fn kill(generation: &Generation, gateway: &Gateway) -> bool {
    if !generation.pool.remove(gateway.id) {
        return false;
    }
    // It is our child, and nobody has waited for it while it was in the pool: the number is still its own.
    let _ = nix::sys::signal::kill(Pid::from_raw(gateway.pid), nix::sys::signal::Signal::SIGKILL);
    true
}

/// Sends a message to a gateway that has a moment to take it, or is ended.
pub(crate) async fn tell(
    generation: &Generation,
    gateway: &Gateway,
    message: &SupervisorToGateway,
) -> Result<(), ChannelError> {
    let Ok(sent) = timeout(READ_DEADLINE, gateway.channel.send(message)).await else {
        violation::condemn(generation, gateway, &GatewayFault::Hung);
        return Err(ChannelError::Closed);
    };
    sent
}

/// Starts one more gateway beside the others.
pub(crate) async fn grow(generation: Rc<Generation>) {
    match start(&generation).await {
        Ok(started) => {
            spawn_local(keep(generation.clone(), started));
        }
        Err(error) => {
            tracing::warn!(target: "websockify::gateway", "going on without a further gateway: {error}");
        }
    }
    generation.pool.has_grown();
}

/// A gateway that runs: how many connections it has, and how many answers are still to come.
pub(crate) fn adopt(
    id: GatewayId,
    role: Role,
    acknowledgements: OwnedFd,
    load: u64,
    asked: usize,
    tally: Tally,
) -> Started {
    let gateway = Gateway {
        id,
        channel: role.channel.clone(),
        log: role.log.clone(),
        acknowledgements: Unwatched::new(acknowledgements),
        pid: role.process.pid,
        load: Cell::new(load),
        // Whoever has asked is gone.
        asked: RefCell::new((0..asked).map(|_| oneshot::channel().0).collect()),
        tally: RefCell::new(tally),
        tally_asked: RefCell::default(),
        unasked_tallies: Cell::new(0),
        told_to_end: Cell::new(false),
        ended: Notify::new(),
        is_ended: Cell::new(false),
    };
    (Rc::new(gateway), role)
}

/// Starts a gateway and waits until it is ready for connections.
pub(crate) async fn start(generation: &Rc<Generation>) -> Result<Started, ServiceError> {
    let role = Role::start("gateway", generation.config.sandbox)?;
    let (acknowledgements, theirs) = Channel::pair()?;
    let id = generation.service.next_gateway();
    let (gateway, role) = adopt(id, role, acknowledgements, 0, 0, Tally::default());
    let (connector, identity) = (generation.connector.borrow().clone(), generation.identity.in_force());
    let prepared = timeout(role::START_DEADLINE, prepare(generation, &gateway, theirs)).await;
    let failed = |reason: String| ServiceError::Role { role: "gateway", reason };
    prepared.map_err(|_| failed("not ready in time".into()))?.map_err(failed)?;
    if generation.is_retired() {
        return Err(failed("it came too late, after a reload".into()));
    }
    generation.pool.add(gateway.clone());
    // Whoever has come meanwhile did not find this gateway in the pool. One that can't be told is dead.
    if !is_same(connector.as_ref(), generation.connector.borrow().as_ref()) {
        let _ = connector::introduce(generation, &gateway).await;
    }
    if !is_same(identity.as_ref(), generation.identity.in_force().as_ref()) {
        let _ = identity::introduce(generation, &gateway).await;
    }
    generation.service.dispatch.more_room();
    tracing::debug!(target: "websockify::gateway", "gateway {id} (pid {}) is ready", gateway.pid);
    Ok((gateway, role))
}

fn is_same<T>(one: Option<&Rc<T>>, other: Option<&Rc<T>>) -> bool {
    one.map(Rc::as_ptr) == other.map(Rc::as_ptr)
}

/// Sends a gateway all that it needs and waits for its word.
async fn prepare(
    generation: &Generation,
    gateway: &Gateway,
    acknowledgements: OwnedFd,
) -> Result<(), String> {
    let setups = generation.setups().map_err(|error| error.to_string())?;
    let told = async {
        let channel = &gateway.channel;
        channel.send(&SupervisorToGateway::Setup(setups.gateway.try_clone()?)).await?;
        channel.send(&SupervisorToGateway::Acknowledgements(acknowledgements)).await?;
        if let Some(root) = &setups.web_root {
            channel.send(&SupervisorToGateway::WebRoot(root.try_clone()?)).await?;
        }
        connector::introduce(generation, gateway).await?;
        identity::introduce(generation, gateway).await?;
        channel.send(&SupervisorToGateway::Begin).await?;
        channel.receive().await
    };
    match told.await {
        Ok(GatewayToSupervisor::Ready(level)) => generation.confinement.admit(level),
        Ok(GatewayToSupervisor::Failed(reason)) => Err(reason),
        Ok(_) => Err("it reported before it was ready".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Keeps a gateway: reads what it says, and when it has died starts another in its place.
pub(crate) async fn keep(generation: Rc<Generation>, first: Started) {
    let service = &generation.service;
    let mut backoff = Backoff::new();
    let mut started = Some(first);
    while let Some((gateway, role)) = started.take() {
        let since = Instant::now();
        let hangs = liveness::until_silent(service, async || {
            if gateway.count(Vec::new()).await.is_none() {
                // Its end is seen by who listens to it.
                std::future::pending::<()>().await;
            }
        });
        let error = tokio::select! {
            error = listen(&generation, &gateway) => error,
            () = hangs => GatewayFault::Hung,
        };
        violation::condemn(&generation, &gateway, &error);
        generation.pool.remove(gateway.id);
        let status = role.process.kill().await;
        gateway.is_ended.set(true);
        gateway.tally_asked.take();
        service.departed.borrow_mut().add(&gateway.tally.borrow());
        gateway.ended.notify_waiters();
        // The connector may still have to say which of its connections have become sessions.
        sleep(CONNECTOR_DELAY).await;
        // Now that it is dead, nothing more can come, and what came is all that it has begun to read.
        let _ = dispatch::take_acknowledgements_of(service, &gateway);
        let orphans = service.connections.borrow_mut().orphaned(gateway.id);
        service.note_change();
        if service.stopping.get() {
            return;
        }
        let is_replaced = !generation.is_retired();
        if !gateway.told_to_end.get() {
            tracing::error!(
                target: "websockify::gateway",
                message_id = message_id::ROLE_DIED,
                websockify_role = "gateway",
                websockify_worker_pid = gateway.pid,
                "gateway {} (pid {}) is gone ({error}; {}), {} sessions are lost{}",
                gateway.id, gateway.pid, role::describe(status), orphans.lost_sessions,
                if is_replaced { "; starting another" } else { "" },
            );
        }
        generation.identity.renew_ticket_secret(&generation).await;
        for unserved in orphans.unserved {
            let service = service.clone();
            spawn_local(async move { dispatch::hand_over(&service, unserved).await });
        }
        while started.is_none() && !service.stopping.get() {
            if !generation.is_retired() {
                backoff.pause(since.elapsed()).await;
            }
            if generation.is_retired() {
                generation.end_if_empty();
                return;
            }
            match start(&generation).await {
                Ok(again) => {
                    service.restarts.set(service.restarts.get() + 1);
                    started = Some(again);
                }
                Err(_) if generation.is_retired() => {}
                Err(error) => tracing::error!(target: "websockify::gateway", "{error}; trying again"),
            }
        }
    }
}

/// Reads what a gateway says until it dies or breaks protocol.
async fn listen(generation: &Rc<Generation>, gateway: &Rc<Gateway>) -> GatewayFault {
    loop {
        let taken = match gateway.channel.receive().await {
            Ok(GatewayToSupervisor::Report(report)) => take_report(generation, gateway, report),
            Ok(GatewayToSupervisor::Counts(counts)) => gateway.take_answer(counts),
            Ok(GatewayToSupervisor::Tally(tally)) => gateway.take_tally(tally),
            Ok(GatewayToSupervisor::Record(id)) => record(generation, gateway, id),
            Ok(GatewayToSupervisor::Requested(requested)) => take_requests(generation, gateway, requested),
            Ok(_) => Err(GatewayFault::OutOfTurn),
            Err(error) => Err(error.into()),
        };
        if let Err(fault) = taken {
            return fault;
        }
    }
}

/// Believes what a gateway says about its own connections. Each entry uses up a connection, so nobody can
/// report without end.
fn take_report(generation: &Generation, gateway: &Gateway, report: Report) -> Result<(), GatewayFault> {
    if report.is_empty() {
        return Err(GatewayFault::OutOfTurn);
    }
    let service = &generation.service;
    dispatch::take_acknowledgements(service);
    let mut connections = service.connections.borrow_mut();
    for id in report.lost {
        let unserved = connections.lost(id, gateway.id).ok_or(GatewayFault::Foreign(id))?;
        lighten(generation, gateway);
        spawn_local(dispatch::offer_again(service.clone(), unserved));
    }
    for ended in report.ended {
        let id = ended.id;
        let reason = ended.session.as_ref().map_or(0, |session| session.close_reason.len());
        if reason > MAX_REASON || !connections.ended(ended, gateway.id) {
            return Err(GatewayFault::Foreign(id));
        }
        lighten(generation, gateway);
        service.note_change();
    }
    Ok(())
}

/// Opens a file for the recording of a session. Each connection gets one at most.
fn record(generation: &Rc<Generation>, gateway: &Rc<Gateway>, id: ConnectionId) -> Result<(), GatewayFault> {
    let client = generation.service.connections.borrow_mut().record(id, gateway.id);
    let client = client.ok_or(GatewayFault::Foreign(id))?;
    let answer = match generation.recordings.as_ref().map(|recordings| recordings.open(id)) {
        // Before an upgrade it was configured otherwise.
        None => SupervisorToGateway::NoRecording(id),
        Some(Ok((path, file))) => {
            let path = path.display();
            tracing::info!(target: "websockify::gateway", websockify_client = %client, "opening record file: {path}");
            SupervisorToGateway::Recording { id, file }
        }
        Some(Err(error)) => {
            tracing::error!(target: "websockify::gateway", "cannot record session {id}: {error}");
            SupervisorToGateway::NoRecording(id)
        }
    };
    let (generation, gateway) = (generation.clone(), gateway.clone());
    // One that is gone needs no answer.
    spawn_local(async move { _ = tell(&generation, &gateway, &answer).await });
    Ok(())
}

/// Believes what a gateway says about how its sessions came to be, once for each of its connections.
fn take_requests(
    generation: &Generation,
    gateway: &Gateway,
    requested: Vec<Requested>,
) -> Result<(), GatewayFault> {
    if requested.is_empty() || !log::keeps_fields() {
        return Err(GatewayFault::OutOfTurn);
    }
    let service = &generation.service;
    dispatch::take_acknowledgements(service);
    let mut connections = service.connections.borrow_mut();
    for Requested { id, request } in requested {
        if !request.fits() || !connections.requested(id, request, gateway.id) {
            return Err(GatewayFault::Foreign(id));
        }
    }
    Ok(())
}

/// One connection of a gateway is gone.
pub(crate) fn lighten(generation: &Generation, gateway: &Gateway) {
    gateway.load.set(gateway.load.get().saturating_sub(1));
    if generation.is_retired() && gateway.load.get() == 0 {
        gateway.end(&SupervisorToGateway::Stop);
    }
    generation.service.dispatch.more_room();
}
