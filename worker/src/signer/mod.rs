//! The signer: holds the TLS key, and signs structures of TLS handshakes for gateways, nothing else.

mod key;
mod structure;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use common::ipc::channel::{Channel, ChannelError};
use common::ipc::level::Level;
use common::ipc::setup::{self, SignerSetup};
use common::ipc::signer::{GatewayToSigner, SignerToGateway, SignerToSupervisor, SupervisorToSigner};
use tokio::task::spawn_local;

use crate::role;
use crate::sandbox::{self, Profile};
use key::Key;

/// Runs the role until its channel is closed.
///
/// # Errors
///
/// When the supervisor sends something else than expected, or the kernel refuses what is needed.
pub fn run(control: OwnedFd, log: OwnedFd) -> io::Result<()> {
    role::run(async {
        let supervisor = Channel::new(control)?;
        let Ok(SupervisorToSigner::Setup(file)) = supervisor.receive().await else {
            return Err(role::unexpected("no setup"));
        };
        let setup: SignerSetup = setup::read(file)?;
        role::seed_randomness();
        let level = sandbox::enter(Profile::Signer, setup.run_as, setup.sandbox)?;
        let log = role::log_to(log, false);
        let key = match Key::load(&setup) {
            Ok(key) => key,
            Err(error) => {
                let failed = SignerToSupervisor::Failed(error.to_string());
                // A supervisor that is gone needs no reason.
                let _ = supervisor.send(&failed).await;
                return Ok(());
            }
        };
        drop(setup);
        serve(&supervisor, level, Rc::new(key)).await;
        log.flush();
        Ok(())
    })
}

async fn serve(supervisor: &Channel, level: Level, key: Rc<Key>) {
    if supervisor.send(&SignerToSupervisor::Ready(level, key.description())).await.is_err() {
        return;
    }
    while let Ok(SupervisorToSigner::Gateway(channel)) = supervisor.receive().await {
        match Channel::new(channel) {
            Ok(channel) => _ = spawn_local(serve_gateway(key.clone(), channel)),
            Err(error) => tracing::error!(target: "websockify::signer", "no channel to a gateway: {error}"),
        }
    }
}

/// Signs for one gateway until it ends or asks for what no gateway asks.
async fn serve_gateway(key: Rc<Key>, channel: Channel) {
    loop {
        let (id, scheme, message) = match channel.receive().await {
            Ok(GatewayToSigner::Sign { id, scheme, message }) => (id, scheme, message),
            Err(ChannelError::Closed) => return,
            Err(error) => {
                tracing::error!(target: "websockify::signer", "giving up a gateway: {error}");
                return;
            }
        };
        let signature = key.sign(scheme, &message);
        let refused = signature.is_none();
        let answer = signature.map_or(SignerToGateway::Refused { id }, |signature| {
            SignerToGateway::Signature { id, signature }
        });
        if refused {
            tracing::error!(target: "websockify::signer", "a gateway asked to sign what is no TLS handshake");
        }
        if channel.send(&answer).await.is_err() || refused {
            return;
        }
    }
}
