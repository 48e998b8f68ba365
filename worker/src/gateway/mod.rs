//! The gateway: the only role that reads what clients send.
//!
//! A connection goes through `connection` (first byte, `proxy_header`), `tls` and `requests` (HTTP). It continues with `page`
//! and `web`, or with `websocket::handshake`, `admission` and `pump`.

pub mod admission;
mod certificate;
pub mod connection;
mod connections;
pub mod http;
mod kept;
mod new_session;
mod outbox;
mod page;
pub mod proxy_header;
pub mod pump;
pub mod recording;
mod requests;
mod state;
pub mod tls;
pub mod transport;
pub mod web;
pub mod websocket;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use common::ipc::ack_channel::AckChannel;
use common::ipc::channel::{Channel, Received};
use common::ipc::gateway::{GatewayToSupervisor, SupervisorToGateway};
use common::ipc::setup::{self, GatewaySetup, Page};
use tokio::task::spawn_local;

use crate::beneath::Beneath;
use crate::role;
use crate::sandbox::{self, Profile};
use admission::Connector;
use connections::Ending;
use outbox::Outbox;
use state::Gateway;

/// Runs the role until the supervisor closes its channel.
///
/// # Errors
///
/// Fails if the supervisor sends an unexpected message, or if the kernel refuses a socket, a timer or memory.
pub fn run(control: OwnedFd, log: OwnedFd) -> io::Result<()> {
    let role = async {
        let supervisor = Rc::new(Channel::new(control)?);
        let Ok(SupervisorToGateway::Setup(file)) = supervisor.receive().await else {
            return Err(role::unexpected("no setup"));
        };
        let setup: GatewaySetup = setup::read(file)?;
        let Ok(SupervisorToGateway::Acknowledgements(acknowledgements)) = supervisor.receive().await else {
            return Err(role::unexpected("no way to acknowledge"));
        };
        let web_root = match &setup.page {
            Page::Files { names, .. } => match supervisor.receive().await {
                Ok(SupervisorToGateway::WebRoot(directory)) => {
                    Some(Beneath::new(directory).known_as(names.iter().map(Into::into).collect()))
                }
                _ => return Err(role::unexpected("no web root")),
            },
            Page::None | Page::Demo => None,
        };
        if setup.tls.is_some() || setup.target_tls.is_some() {
            role::seed_randomness();
        }
        let profile = Profile::Gateway { web_root: web_root.as_ref(), records: setup.record };
        let level = sandbox::enter(profile, setup.run_as, setup.sandbox)?;
        let log = role::log_to(log, setup.verbose);
        let outbox = Outbox::new(supervisor.clone(), AckChannel::new(acknowledgements));
        match Gateway::new(setup, level, web_root, outbox, log) {
            Ok(gateway) => gateway.serve(&supervisor).await,
            Err(reason) => {
                // Fails only if the supervisor is gone, which needs no reason then.
                let _ = supervisor.send(&GatewayToSupervisor::Failed(reason)).await;
                Ok(())
            }
        }
    };
    role::run_and_rest(role, pump::rest)
}

impl Gateway {
    /// Handles messages of the supervisor until it closes the channel, or after `Stop` until all connections
    /// have ended.
    async fn serve(self: Rc<Self>, supervisor: &Channel) -> io::Result<()> {
        let reporter = spawn_local(self.outbox.clone().keep_reporting());
        let gateway = self.clone();
        let releaser = spawn_local(async move { gateway.connections.keep_releasing_memory().await });
        loop {
            tokio::select! {
                biased;
                () = self.connections.stopped() => break,
                received = supervisor.receive_or_lose() => match received {
                    Ok(Received::Message(message)) => self.obey(message, supervisor).await?,
                    Ok(Received::DescriptorLost { tag: SupervisorToGateway::RECORDING, id }) => {
                        self.recordings.opened(id, None);
                    }
                    Ok(Received::DescriptorLost { id, .. }) => self.outbox.lost(id),
                    Err(error) => return role::ended(error),
                },
            }
        }
        // These fail only if the supervisor is gone.
        let _ = self.outbox.report().await;
        let _ = supervisor.send(&self.stats()).await;
        self.log.flush();
        reporter.abort();
        releaser.abort();
        Ok(())
    }

    /// The current counters as a message.
    fn stats(&self) -> GatewayToSupervisor {
        GatewayToSupervisor::Stats(self.stats.borrow().clone())
    }

    async fn obey(self: &Rc<Self>, message: SupervisorToGateway, supervisor: &Channel) -> io::Result<()> {
        match message {
            SupervisorToGateway::Connection { ticket, proxy_header, socket } => {
                spawn_local(connection::serve(self.clone(), ticket, proxy_header, socket));
            }
            SupervisorToGateway::Connector(channel) => {
                *self.connector.borrow_mut() = Some(Connector::new(Channel::new(channel)?));
            }
            SupervisorToGateway::Certificate(file) => self.tls.stage(setup::read(file)?),
            SupervisorToGateway::Signer(channel) => self.tls.activate(channel),
            SupervisorToGateway::Recording { id, file } => self.recordings.opened(id, Some(file)),
            SupervisorToGateway::NoRecording(id) => self.recordings.opened(id, None),
            SupervisorToGateway::Begin => {
                supervisor.send(&GatewayToSupervisor::Ready(self.level)).await.map_err(io::Error::other)?;
            }
            SupervisorToGateway::Stop => self.connections.stop(Ending::Shutdown),
            SupervisorToGateway::Restart => self.connections.stop(Ending::Restart),
            SupervisorToGateway::Retire => self.connections.retire(),
            SupervisorToGateway::End { ids, cause } => self.connections.end(&ids, cause.into()),
            SupervisorToGateway::GetCounts(ids) => {
                let counts = GatewayToSupervisor::Counts(self.connections.count(&ids));
                supervisor.send(&counts).await.map_err(io::Error::other)?;
            }
            SupervisorToGateway::GetStats => {
                supervisor.send(&self.stats()).await.map_err(io::Error::other)?;
            }
            SupervisorToGateway::Setup(_)
            | SupervisorToGateway::Acknowledgements(_)
            | SupervisorToGateway::WebRoot(_) => {
                unreachable!("the channel accepts it only before `Begin`")
            }
        }
        Ok(())
    }
}
