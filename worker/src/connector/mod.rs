//! The connector: decides which target a connection gets, and dials it.
//!
//! It reads no byte of a client but the fields of the requests that gateways ask about, and takes
//! gateways for hostile: what one of them sends can end the channel to it, and nothing else.

mod dial;

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use common::addr::TargetAddr;
use common::ipc::GatewayId;
use common::ipc::admission::{AdmissionRequest, ConnectorToGateway, GatewayToConnector, Refusal};
use common::ipc::channel::{Channel, ChannelError};
use common::ipc::connector::{ConnectorToSupervisor, Dialled, SupervisorToConnector};
use common::ipc::level::Level;
use common::ipc::setup::{self, ConnectorSetup};
use tokio::sync::{Notify, Semaphore};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::role;
use crate::sandbox::{self, Profile};

/// Targets that are dialled at a time; further requests wait their turn. Each takes a descriptor, and
/// a thread while its name is resolved.
const MAX_DIALLING: usize = 256;

/// Requests of one gateway that may wait. A gateway with more is told that we are overloaded.
const MAX_WAITING: usize = 4096;

/// How long the word of a dialled target may wait for others.
const MAX_DELAY: Duration = Duration::from_millis(8);

/// What all requests share.
struct Connector {
    setup: ConnectorSetup,
    supervisor: Channel,
    dialling: Semaphore,
    /// What the supervisor is still to be told.
    dialled: RefCell<Vec<Dialled>>,
    dialled_more: Notify,
}

/// Runs the role until its channel is closed.
///
/// # Errors
///
/// When the supervisor sends something else than expected, or the kernel refuses what is needed.
pub fn run(control: OwnedFd, log: OwnedFd) -> io::Result<()> {
    role::run(async {
        let supervisor = Channel::new(control)?;
        let Ok(SupervisorToConnector::Setup(file)) = supervisor.receive().await else {
            return Err(role::unexpected("no setup"));
        };
        let setup: ConnectorSetup = setup::read(file)?;
        let profile = match &setup.target {
            TargetAddr::Unix(_) => Profile::Connector { port: None, resolves: false },
            TargetAddr::Tcp { host, port } => {
                Profile::Connector { port: Some(*port), resolves: host.parse::<IpAddr>().is_err() }
            }
        };
        let level = sandbox::enter(profile, setup.run_as, setup.sandbox)?;
        let log = role::log_to(log, false);
        let connector = Connector {
            setup,
            supervisor,
            dialling: Semaphore::new(MAX_DIALLING),
            dialled: RefCell::default(),
            dialled_more: Notify::new(),
        };
        serve(Rc::new(connector), level).await;
        log.flush();
        Ok(())
    })
}

async fn serve(connector: Rc<Connector>, level: Level) {
    if connector.supervisor.send(&ConnectorToSupervisor::Ready(level)).await.is_err() {
        return;
    }
    spawn_local(keep_telling(connector.clone()));
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
    // The semaphore is never closed.
    let Ok(_turn) = connector.dialling.acquire().await else { return };
    let dialled = dial::dial(setup).await;
    let told = Dialled {
        id: request.id,
        client: bounded(request.client.to_string()),
        target: bounded(setup.target.to_string()),
        secured: setup.target_tls,
        failure: dialled.as_ref().err().map(|error| bounded(error.to_string())),
    };
    connector.dialled.borrow_mut().push(told);
    connector.dialled_more.notify_one();
    match dialled {
        // A gateway that is gone needs no answer.
        Ok(target) => _ = channel.send(&ConnectorToGateway::Connected { id: request.id, target }).await,
        Err(error) => refuse(channel, &request, error.refusal()).await,
    }
}

/// Tells the supervisor what was dialled, a moment later and many at a time.
async fn keep_telling(connector: Rc<Connector>) {
    loop {
        connector.dialled_more.notified().await;
        sleep(MAX_DELAY).await;
        let mut dialled = connector.dialled.take().into_iter();
        loop {
            let batch: Vec<_> = dialled.by_ref().take(Dialled::MAX_BATCH).collect();
            if batch.is_empty() {
                break;
            }
            if connector.supervisor.send(&ConnectorToSupervisor::Dialled(batch)).await.is_err() {
                return;
            }
        }
    }
}

/// Text that is no longer than the supervisor takes.
fn bounded(mut text: String) -> String {
    let end = (0..=Dialled::MAX_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    text
}

async fn refuse(channel: &Channel, request: &AdmissionRequest, refusal: Refusal) {
    // A gateway that is gone needs no answer.
    let _ = channel.send(&ConnectorToGateway::Refused { id: request.id, refusal }).await;
}
