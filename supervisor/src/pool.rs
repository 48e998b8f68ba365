//! The gateways: which of them gets a connection, how many there are, and what happens when one dies.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::config::{Config, Workers};
use common::ipc::GatewayId;
use common::ipc::channel::{Channel, ChannelError};
use common::ipc::gateway::{Begun, GatewayToSupervisor, Report, SupervisorToGateway};
use common::ipc::unwatched::Unwatched;
use nix::sys::resource::{Resource, getrlimit};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::connections::Unserved;
use crate::role::{self, Backoff, Role};
use crate::service::{Service, ServiceError};
use crate::violation::{self, GatewayFault};
use crate::{connector, identity};

/// Descriptors that a gateway needs besides its connections.
const RESERVED_DESCRIPTORS: u64 = 16;

/// Descriptors of a connection: the client's and the target's.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;

/// How long a gateway may leave its channel unread before it counts as hung.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(5);

/// Pause before a connection is offered again that a gateway could not receive.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// How often acknowledgements are looked for while any is due and nothing else happens.
const ACKNOWLEDGEMENT_INTERVAL: Duration = Duration::from_millis(100);

/// Acknowledgements of one gateway that are taken at a look: more than the kernel keeps, and an end to the
/// look should a gateway send them faster than they can be read.
const MAX_ACKNOWLEDGEMENTS: u32 = 1024;

/// How often the load of the gateways is looked at, at most.
const LOAD_INTERVAL: Duration = Duration::from_millis(250);

/// Share of a processor above which a gateway counts as busy.
const BUSY: f64 = 0.6;

/// All gateways of an instance.
#[derive(Debug)]
pub(crate) struct Pool {
    gateways: RefCell<Vec<Rc<Gateway>>>,
    /// How many there are at first, and how many there may be.
    bounds: (usize, usize),
    /// Connections that one gateway can have.
    capacity: u64,
    /// Connections that all may have together.
    limit: u64,
    last: Cell<u32>,
    measured: Cell<Option<(Instant, Duration)>>,
    growing: Cell<bool>,
    /// A gateway has more room than before.
    room: Notify,
    /// A connection was handed over, and an acknowledgement will come.
    handed_over: Notify,
}

/// A gateway that is ready.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// Its number.
    pub(crate) id: GatewayId,
    /// The channel to it.
    pub(crate) channel: Rc<Channel>,
    acknowledgements: Unwatched,
    /// Its process id.
    pub(crate) pid: i32,
    load: Cell<u64>,
    ended: Notify,
    is_ended: Cell<bool>,
}

/// A gateway's process, for who keeps it alive.
pub(crate) type Started = (Rc<Gateway>, Role);

impl Pool {
    /// An empty pool with the bounds of `config` and of the limit of open files.
    pub(crate) fn new(config: &Config) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let bounds = match config.workers {
            Workers::Auto => (1, processors),
            Workers::Fixed(count) => (count.into(), count.into()),
        };
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        let capacity = (descriptors.saturating_sub(RESERVED_DESCRIPTORS) / DESCRIPTORS_PER_CONNECTION).max(1);
        let all = capacity.saturating_mul(bounds.1 as u64);
        Self {
            gateways: RefCell::default(),
            bounds,
            capacity,
            limit: config.limits.connections.map_or(all, |limit| all.min(limit.into())),
            last: Cell::new(0),
            measured: Cell::new(None),
            growing: Cell::new(false),
            room: Notify::new(),
            handed_over: Notify::new(),
        }
    }

    /// How many gateways there are from the start.
    pub(crate) fn initial(&self) -> usize {
        self.bounds.0
    }

    /// Those that are ready.
    pub(crate) fn all(&self) -> Vec<Rc<Gateway>> {
        self.gateways.borrow().clone()
    }

    /// Waits until some gateway can take a connection.
    pub(crate) async fn room(&self) {
        while self.least_loaded().is_none() {
            self.room.notified().await;
        }
    }

    /// The gateway with the fewest connections, if it can take one more.
    fn least_loaded(&self) -> Option<Rc<Gateway>> {
        let gateways = self.gateways.borrow();
        let total: u64 = gateways.iter().map(|gateway| gateway.load.get()).sum();
        let least = gateways.iter().min_by_key(|gateway| gateway.load.get())?;
        (total < self.limit && least.load.get() < self.capacity).then(|| least.clone())
    }

    /// Tells every gateway to end its sessions and itself; gives those that were told.
    pub(crate) fn stop(&self) -> Vec<Rc<Gateway>> {
        let gateways = self.all();
        for gateway in &gateways {
            // One that is gone or does not read is ended by its keeper or at our own end.
            let _ = gateway.channel.try_send(&SupervisorToGateway::Stop);
        }
        gateways
    }

    /// Whether all gateways are so busy that one more would help, which is looked at now and then.
    fn should_grow(&self) -> bool {
        let gateways = self.gateways.borrow();
        if gateways.len() >= self.bounds.1 || self.growing.get() {
            return false;
        }
        let now = Instant::now();
        if self.measured.get().is_some_and(|(then, _)| now - then < LOAD_INTERVAL) {
            return false;
        }
        let used = gateways.iter().map(|gateway| gateway.processor_time()).sum::<Duration>();
        let Some((then, used_then)) = self.measured.replace(Some((now, used))) else { return false };
        let share = used.saturating_sub(used_then).as_secs_f64() / (now - then).as_secs_f64();
        share > BUSY * gateways.len() as f64
    }
}

impl Gateway {
    /// Waits until its process has ended.
    pub(crate) async fn ended(&self) {
        while !self.is_ended.get() {
            self.ended.notified().await;
        }
    }

    fn processor_time(&self) -> Duration {
        clock_getcpuclockid(Pid::from_raw(self.pid)).and_then(ClockId::now).map_or(Duration::ZERO, Into::into)
    }
}

/// Gives a connection to the least loaded gateway, waiting until one can take it.
pub(crate) async fn hand_over(service: &Rc<Service>, mut unserved: Unserved) {
    let pool = &service.pool;
    if pool.should_grow() {
        pool.growing.set(true);
        spawn_local(grow(service.clone()));
    }
    take_acknowledgements(service);
    loop {
        pool.room().await;
        let Some(gateway) = pool.least_loaded() else { continue };
        let Unserved { id, client, socket, tried } = unserved;
        // Each gateway that gets it needs a ticket of its own.
        let ticket = service.mint.ticket(id, gateway.id, client);
        let message = SupervisorToGateway::Connection { ticket, socket };
        let sent = timeout(HAND_OVER_DEADLINE, gateway.channel.send(&message)).await;
        let SupervisorToGateway::Connection { ticket, socket } = message else { return };
        unserved = Unserved { id, client: ticket.claims.client, socket, tried };
        match sent {
            Ok(Ok(())) => {
                gateway.load.set(gateway.load.get() + 1);
                service.connections.borrow_mut().handed_over(unserved, gateway.id);
                pool.handed_over.notify_one();
                service.note_change();
                return;
            }
            // Its keeper sees the same and takes it out of the pool.
            Ok(Err(ChannelError::Closed)) => _ = remove(service, &gateway),
            Ok(Err(error)) => {
                tracing::error!(target: "websockify::pool", "giving up a connection: {error}");
                return;
            }
            Err(_) => violation::condemn(service, &gateway, &GatewayFault::Hung),
        }
    }
}

/// Ends a gateway; its keeper clears up behind it. Says whether it was still there.
pub(crate) fn kill(service: &Service, gateway: &Gateway) -> bool {
    if !remove(service, gateway) {
        return false;
    }
    // It is our child, and nobody has waited for it while it was in the pool: the number is still its own.
    let _ = nix::sys::signal::kill(Pid::from_raw(gateway.pid), nix::sys::signal::Signal::SIGKILL);
    true
}

/// Takes a gateway out of the pool; says whether it was there.
fn remove(service: &Service, gateway: &Gateway) -> bool {
    let mut gateways = service.pool.gateways.borrow_mut();
    let before = gateways.len();
    gateways.retain(|other| other.id != gateway.id);
    gateways.len() < before
}

/// Sends a message to a gateway that has a moment to take it, or is ended.
pub(crate) async fn tell(
    service: &Service,
    gateway: &Gateway,
    message: &SupervisorToGateway,
) -> Result<(), ChannelError> {
    let Ok(sent) = timeout(HAND_OVER_DEADLINE, gateway.channel.send(message)).await else {
        violation::condemn(service, gateway, &GatewayFault::Hung);
        return Err(ChannelError::Closed);
    };
    sent
}

async fn grow(service: Rc<Service>) {
    match start(&service).await {
        Ok(started) => {
            spawn_local(keep(service.clone(), started));
        }
        Err(error) => {
            tracing::warn!(target: "websockify::pool", "going on without a further gateway: {error}");
        }
    }
    service.pool.growing.set(false);
}

/// Starts a gateway and waits until it is ready for connections.
pub(crate) async fn start(service: &Rc<Service>) -> Result<Started, ServiceError> {
    let role = Role::start("gateway")?;
    let (acknowledgements, theirs) = Channel::pair()?;
    let pool = &service.pool;
    pool.last.set(pool.last.get() + 1);
    let id = GatewayId(pool.last.get());
    let gateway = Rc::new(Gateway {
        id,
        channel: role.channel.clone(),
        acknowledgements: Unwatched::new(acknowledgements),
        pid: role.process.pid,
        load: Cell::new(0),
        ended: Notify::new(),
        is_ended: Cell::new(false),
    });
    let (connector, identity) = (service.connector.borrow().clone(), service.identity.in_force());
    let prepared = timeout(role::START_DEADLINE, prepare(service, &gateway, theirs)).await;
    let failed = |reason: String| ServiceError::Role { role: "gateway", reason };
    prepared.map_err(|_| failed("not ready in time".into()))?.map_err(failed)?;
    pool.gateways.borrow_mut().push(gateway.clone());
    // Whoever has come meanwhile did not find this gateway in the pool. One that can't be told is dead.
    if !is_same(connector.as_ref(), service.connector.borrow().as_ref()) {
        let _ = connector::introduce(service, &gateway).await;
    }
    if !is_same(identity.as_ref(), service.identity.in_force().as_ref()) {
        let _ = identity::introduce(service, &gateway).await;
    }
    pool.room.notify_waiters();
    tracing::debug!(target: "websockify::pool", "gateway {id} (pid {}) is ready", gateway.pid);
    Ok((gateway, role))
}

fn is_same<T>(one: Option<&Rc<T>>, other: Option<&Rc<T>>) -> bool {
    one.map(Rc::as_ptr) == other.map(Rc::as_ptr)
}

/// Sends a gateway all that it needs and waits for its word.
async fn prepare(service: &Service, gateway: &Gateway, acknowledgements: OwnedFd) -> Result<(), String> {
    let told = async {
        let setups = &service.setups;
        let channel = &gateway.channel;
        channel.send(&SupervisorToGateway::Setup(setups.gateway.try_clone()?)).await?;
        channel.send(&SupervisorToGateway::Acknowledgements(acknowledgements)).await?;
        if let Some(root) = &setups.web_root {
            channel.send(&SupervisorToGateway::WebRoot(root.try_clone()?)).await?;
        }
        connector::introduce(service, gateway).await?;
        identity::introduce(service, gateway).await?;
        channel.send(&SupervisorToGateway::Begin).await?;
        channel.receive().await
    };
    match told.await {
        Ok(GatewayToSupervisor::Ready(level)) => service.confinement.admit(level),
        Ok(GatewayToSupervisor::Failed(reason)) => Err(reason),
        Ok(GatewayToSupervisor::Report(_)) => Err("it reported before it was ready".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Keeps a gateway: reads what it says, and when it has died starts another in its place.
pub(crate) async fn keep(service: Rc<Service>, first: Started) {
    let mut backoff = Backoff::new();
    let mut started = Some(first);
    while let Some((gateway, role)) = started.take() {
        let since = Instant::now();
        let error = listen(&service, &gateway).await;
        violation::condemn(&service, &gateway, &error);
        remove(&service, &gateway);
        let status = role.process.kill().await;
        gateway.is_ended.set(true);
        gateway.ended.notify_waiters();
        // Now that it is dead, nothing more can come, and what came is all that it has begun to read.
        let _ = take_acknowledgements_of(&service, &gateway);
        let orphans = service.connections.borrow_mut().orphaned(gateway.id);
        service.note_change();
        if service.stopping.get() {
            return;
        }
        tracing::error!(
            target: "websockify::pool",
            "gateway {} (pid {}) is gone ({error}; {}), {} sessions are lost; starting another",
            gateway.id, gateway.pid, role::describe(status), orphans.lost_sessions,
        );
        for unserved in orphans.unserved {
            let service = service.clone();
            spawn_local(async move { hand_over(&service, unserved).await });
        }
        while started.is_none() && !service.stopping.get() {
            backoff.pause(since.elapsed()).await;
            match start(&service).await {
                Ok(again) => started = Some(again),
                Err(error) => tracing::error!(target: "websockify::pool", "{error}; trying again"),
            }
        }
    }
}

/// Reads what a gateway says until it dies or breaks protocol.
async fn listen(service: &Rc<Service>, gateway: &Rc<Gateway>) -> GatewayFault {
    loop {
        let taken = match gateway.channel.receive().await {
            Ok(GatewayToSupervisor::Report(report)) => take_report(service, gateway, report),
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
fn take_report(service: &Rc<Service>, gateway: &Rc<Gateway>, report: Report) -> Result<(), GatewayFault> {
    if report.is_empty() {
        return Err(GatewayFault::OutOfTurn);
    }
    take_acknowledgements(service);
    let mut connections = service.connections.borrow_mut();
    for id in report.lost {
        let unserved = connections.lost(id, gateway.id).ok_or(GatewayFault::Foreign(id))?;
        lighten(service, gateway);
        let service = service.clone();
        spawn_local(async move {
            sleep(RETRY_PAUSE).await;
            hand_over(&service, unserved).await;
        });
    }
    for ended in report.ended {
        let id = ended.id;
        if !connections.ended(ended, gateway.id) {
            return Err(GatewayFault::Foreign(id));
        }
        lighten(service, gateway);
        service.note_change();
    }
    Ok(())
}

/// Looks for what gateways have begun to serve, and closes our copies of those sockets.
fn take_acknowledgements(service: &Service) {
    for gateway in service.pool.all() {
        if let Err(error) = take_acknowledgements_of(service, &gateway) {
            violation::condemn(service, &gateway, &error.into());
        }
    }
}

fn take_acknowledgements_of(service: &Service, gateway: &Gateway) -> Result<(), ChannelError> {
    for _ in 0..MAX_ACKNOWLEDGEMENTS {
        let Some(Begun(id)) = gateway.acknowledgements.try_receive()? else { break };
        // What it says about others than its own, or twice, has no effect.
        service.connections.borrow_mut().begun(id, gateway.id);
    }
    Ok(())
}

/// Looks for acknowledgements now and then while any is due.
pub(crate) async fn keep_taking_acknowledgements(service: Rc<Service>) {
    loop {
        service.pool.handed_over.notified().await;
        while service.connections.borrow().any_unbegun() {
            sleep(ACKNOWLEDGEMENT_INTERVAL).await;
            take_acknowledgements(&service);
        }
    }
}

fn lighten(service: &Service, gateway: &Gateway) {
    gateway.load.set(gateway.load.get().saturating_sub(1));
    service.pool.room.notify_waiters();
}
