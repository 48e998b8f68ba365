//! Starting a gateway, or taking over one that runs.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use common::ipc::GatewayId;
use common::ipc::ack_channel::AckChannel;
use common::ipc::channel::Channel;
use common::ipc::gateway::{GatewayToSupervisor, SupervisorToGateway};
use common::ipc::stats::Stats;
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::{Gateway, Started, keep};
use crate::path::generation::Generation;
use crate::roles::connector;
use crate::roles::role::{self, Role};
use crate::roles::signer;
use crate::run::ServiceError;

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
    stats: Stats,
) -> Started {
    let gateway = Gateway {
        id,
        channel: role.channel.clone(),
        log: role.log.clone(),
        acknowledgements: AckChannel::new(acknowledgements),
        pid: role.process.pid,
        load: Cell::new(load),
        // Whoever has asked is gone.
        asked: RefCell::new((0..asked).map(|_| oneshot::channel().0).collect()),
        stats: RefCell::new(stats),
        stats_asked: RefCell::default(),
        unasked_stats: Cell::new(0),
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
    let (gateway, role) = adopt(id, role, acknowledgements, 0, 0, Stats::default());
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
        let _ = signer::introduce(generation, &gateway).await;
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
        signer::introduce(generation, gateway).await?;
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
