//! The signer: holds the TLS key, and signs structures of TLS handshakes for gateways and nothing else.

mod cipher;
mod derivation;
mod encryption;
mod key;
pub mod key_file;
pub mod structure;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use common::ipc::Violation;
use common::ipc::channel::{Channel, ChannelError};
use common::ipc::level::{Level, Part};
use common::ipc::setup::{self, SignerSetup};
use common::ipc::signer::{GatewayToSigner, SignerToGateway, SignerToSupervisor, SupervisorToSigner};
use common::sys::locked_memory;
use common::sys::rehearsal::survives;
use tokio::task::{spawn_local, yield_now};

use crate::role;
use crate::sandbox::{self, Profile};
use key::{Key, KeyError, SignOutcome};

/// Runs the role until the supervisor closes its channel.
///
/// # Errors
///
/// Fails if the supervisor sends an unexpected message, or if the kernel refuses a resource.
pub fn run(control: OwnedFd, log: OwnedFd) -> io::Result<()> {
    role::run(async {
        // Done before the key is received.
        let may_lock = survives(|| _ = locked_memory::lock_what_is_written());
        let mut locked = if may_lock { locked_memory::lock_what_is_written() } else { Ok(()) };
        let supervisor = Rc::new(Channel::new(control)?);
        let Ok(SupervisorToSigner::Setup(file)) = supervisor.receive().await else {
            return Err(role::unexpected("no setup"));
        };
        let setup: SignerSetup = setup::read(file)?;
        role::seed_randomness();
        let read = || key_file::read(&setup.key_pem, setup.password.as_deref());
        let mut early = None;
        if may_lock && locked.is_ok() && key_file::needs_memory(&setup.key_pem) {
            // scrypt needs more memory than an ordinary user may lock, and memory can't be locked again
            // within the sandbox.
            locked_memory::unlock()?;
            early = Some(read());
            locked = locked_memory::lock_what_is_written();
        }
        let mut level = sandbox::enter(Profile::Signer, setup.run_as, setup.sandbox)?;
        level.locked_key = Some(may_lock && locked.is_ok());
        if !may_lock {
            level.deadly = level.deadly.and(Part::LockedKey);
        }
        let log = role::log_to(log, false);
        if let Err(error) = locked {
            tracing::warn!("the private key may be swapped out: {error}");
        }
        let key = early.unwrap_or_else(read).map_err(KeyError::from);
        let key = match key.and_then(|key| Key::load(key, &setup.certificate, setup.only_1_3)) {
            Ok(key) => key,
            Err(error) => {
                let failed = SignerToSupervisor::Failed(error.to_string());
                // Fails only if the supervisor is gone.
                let _ = supervisor.send(&failed).await;
                return Ok(());
            }
        };
        drop(setup);
        let ended = serve(&supervisor, level, Rc::new(key)).await;
        log.flush();
        role::ended(ended)
    })
}

async fn serve(supervisor: &Rc<Channel>, level: Level, key: Rc<Key>) -> ChannelError {
    if let Err(error) = supervisor.send(&SignerToSupervisor::Ready(level, key.description())).await {
        return error;
    }
    loop {
        let (id, channel) = match supervisor.receive().await {
            Ok(SupervisorToSigner::Gateway { id, channel }) => (id, channel),
            Ok(SupervisorToSigner::Ping) => {
                if let Err(error) = supervisor.send(&SignerToSupervisor::Pong).await {
                    return error;
                }
                continue;
            }
            Ok(SupervisorToSigner::Setup(_)) => unreachable!("the channel accepts one setup"),
            Err(error) => return error,
        };
        match Channel::new(channel) {
            Ok(channel) => {
                let (supervisor, key) = (supervisor.clone(), key.clone());
                spawn_local(async move {
                    if let Some(what) = serve_gateway(&key, channel).await {
                        let violation = SignerToSupervisor::Violation(Violation { gateway: id, what });
                        // Fails only if the supervisor is gone.
                        let _ = supervisor.send(&violation).await;
                    }
                });
            }
            Err(error) => {
                tracing::error!("no channel to gateway {id}: {error}")
            }
        }
    }
}

/// Signs for one gateway until it ends or sends an illegal request. Returns what was illegal.
async fn serve_gateway(key: &Key, channel: Channel) -> Option<String> {
    loop {
        let (id, scheme, message) = match channel.receive().await {
            Ok(GatewayToSigner::Sign { id, scheme, message }) => (id, scheme, message),
            Err(ChannelError::Violation(error)) => return Some(error.to_string()),
            Err(_) => return None,
        };
        let answer = match key.sign(scheme, &message) {
            SignOutcome::Signature(signature) => SignerToGateway::Signature { id, signature },
            SignOutcome::Refused => SignerToGateway::Refused { id },
            SignOutcome::Violation => {
                // Fails only if the gateway is gone.
                let _ = channel.try_send(&SignerToGateway::Refused { id });
                return Some("it requested a signature that is not part of a TLS handshake".into());
            }
        };
        channel.send(&answer).await.ok()?;
        // A gateway that sends requests without end must not delay others by more than one signature.
        yield_now().await;
    }
}
