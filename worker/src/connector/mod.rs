//! The connector: decides which target a connection gets, and dials it.
//!
//! It reads no byte of a client but the fields of the requests that gateways ask about, and takes
//! gateways for hostile: what one of them sends can end the channel to it, and nothing else.

mod dial;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use common::ipc::GatewayId;
use common::ipc::admission::{AdmissionRequest, ConnectorToGateway, GatewayToConnector, Refusal};
use common::ipc::channel::{Channel, ChannelError};
use common::ipc::connector::{ConnectorToSupervisor, Opened, SupervisorToConnector};
use common::ipc::setup::{self, ConnectorSetup};
use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};

use crate::{role, sandbox};

/// Targets that are dialled at a time; further requests wait their turn. Each takes a descriptor, and
/// a thread while its name is resolved.
const MAX_DIALLING: usize = 256;

/// Requests of one gateway that may wait. A gateway with more is told that we are overloaded.
const MAX_WAITING: usize = 4096;

/// What all requests share.
struct Connector {
    setup: ConnectorSetup,
    supervisor: Channel,
    dialling: Semaphore,
}

/// Runs the role until its channel is closed.
///
/// # Errors
///
/// When the supervisor sends something else than expected, or the kernel refuses what is needed.
pub fn run(control: OwnedFd, log: OwnedFd) -> io::Result<()> {
    let event_loop = role::event_loop()?;
    LocalSet::new().block_on(&event_loop, async {
        let supervisor = Channel::new(control)?;
        let Ok(SupervisorToConnector::Setup(file)) = supervisor.receive().await else {
            return Err(role::unexpected("no setup"));
        };
        let setup: ConnectorSetup = setup::read(file)?;
        sandbox::enter(setup.run_as)?;
        role::log_to(log, false);
        let connector = Connector { setup, supervisor, dialling: Semaphore::new(MAX_DIALLING) };
        serve(Rc::new(connector)).await;
        Ok(())
    })
}

async fn serve(connector: Rc<Connector>) {
    if connector.supervisor.send(&ConnectorToSupervisor::Ready).await.is_err() {
        return;
    }
    while let Ok(SupervisorToConnector::Gateway { id, channel }) = connector.supervisor.receive().await {
        match Channel::new(channel) {
            Ok(channel) => _ = spawn_local(serve_gateway(connector.clone(), id, Rc::new(channel))),
            Err(error) => {
                tracing::error!(target: "websockify::connector", "no channel to gateway {id}: {error}")
            }
        }
    }
}

/// Answers one gateway until it ends or breaks protocol.
async fn serve_gateway(connector: Rc<Connector>, id: GatewayId, channel: Rc<Channel>) {
    let waiting = Arc::new(Semaphore::new(MAX_WAITING));
    loop {
        match channel.receive().await {
            Ok(GatewayToConnector::Admit(request)) => match waiting.clone().try_acquire_owned() {
                Ok(place) => {
                    let (connector, channel) = (connector.clone(), channel.clone());
                    spawn_local(async move {
                        answer(&connector, &channel, request).await;
                        drop(place);
                    });
                }
                Err(_) => refuse(&channel, &request, Refusal::Overloaded).await,
            },
            Err(ChannelError::Closed) => return,
            Err(error) => {
                tracing::error!(target: "websockify::connector", "giving up gateway {id}: {error}");
                return;
            }
        }
    }
}

/// Answers one request.
async fn answer(connector: &Connector, channel: &Channel, request: AdmissionRequest) {
    let setup = &connector.setup;
    let client = request.client.to_string();
    let secured = if setup.target_tls { " (using SSL)" } else { "" };
    tracing::info!(
        target: "websockify::connector",
        client, "{}{secured}", dial::announcement(&setup.target),
    );
    // The semaphore is never closed.
    let Ok(_turn) = connector.dialling.acquire().await else { return };
    match dial::dial(setup).await {
        Ok(target) => {
            let opened = Opened { id: request.id, target: setup.target.to_string() };
            // Said before the gateway is told, so that the supervisor knows of a session before it can
            // end. Whoever is gone needs no word any more: the role ends with its own channel.
            let _ = connector.supervisor.send(&ConnectorToSupervisor::Opened(opened)).await;
            let _ = channel.send(&ConnectorToGateway::Connected { id: request.id, target }).await;
        }
        Err(error) => {
            tracing::info!(
                target: "websockify::connector",
                client, "Failed to connect to {}: {error}", setup.target,
            );
            refuse(channel, &request, error.refusal()).await;
        }
    }
}

async fn refuse(channel: &Channel, request: &AdmissionRequest, refusal: Refusal) {
    // A gateway that is gone needs no answer.
    let _ = channel.send(&ConnectorToGateway::Refused { id: request.id, refusal }).await;
}
