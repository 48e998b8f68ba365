//! Gateways that break protocol. One that does so may be in the hands of somebody else: it is killed,
//! counted and logged, and its keeper starts another in its place.

use common::ipc::channel::ChannelError;
use common::ipc::{ConnectionId, Violation};
use common::log::Escaped;

use crate::os::log::message_id;
use crate::path::generation::Generation;
use crate::roles::gateway::{self, Gateway};

/// Why a gateway is listened to no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayFault {
    /// Its channel is closed or broken.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// It reported what can't be true of a connection.
    #[error("protocol violation: a report about connection {0}, which it can't make")]
    Foreign(ConnectionId),
    /// It sent what is not due.
    #[error("protocol violation: a message out of turn")]
    OutOfTurn,
    /// It does not read.
    #[error("it does not read or answer what it is sent")]
    Hung,
}

impl GatewayFault {
    /// Whether no gateway does so that is in order.
    fn is_violation(&self) -> bool {
        match self {
            Self::Channel(error) => matches!(error, ChannelError::Violation(_)),
            Self::Foreign(_) | Self::OutOfTurn => true,
            Self::Hung => false,
        }
    }
}

/// Ends a gateway for what it did to us. Does nothing about one that has ended.
pub(crate) fn condemn(generation: &Generation, gateway: &Gateway, fault: &GatewayFault) {
    if fault.is_violation() {
        kill(generation, gateway, &fault.to_string());
    } else if matches!(fault, GatewayFault::Hung) {
        tracing::error!(target: "websockify::gateway", message_id = message_id::ROLE_KILLED, websockify_role = "gateway", websockify_worker_pid = gateway.pid, "gateway {} (pid {}) hangs", gateway.id, gateway.pid);
        gateway::kill(generation, gateway);
    }
}

/// Ends a gateway because of what it did to another role. That role may lie, but could as well refuse
/// the gateway its service.
pub(crate) fn accused(generation: &Generation, by: &'static str, violation: &Violation) {
    let gateways = generation.pool.all();
    // It may have ended meanwhile.
    if let Some(gateway) = gateways.iter().find(|gateway| gateway.id == violation.gateway) {
        kill(generation, gateway, &format!("protocol violation towards the {by}: {}", violation.what));
    }
}

fn kill(generation: &Generation, gateway: &Gateway, what: &str) {
    if !gateway::kill(generation, gateway) {
        return;
    }
    let violations = &generation.service.violations;
    violations.set(violations.get() + 1);
    generation.service.note_change();
    tracing::error!(
        target: "websockify::violation",
        message_id = message_id::ROLE_KILLED,
        websockify_role = "gateway",
        websockify_worker_pid = gateway.pid,
        "killed gateway {} (pid {}): {}",
        gateway.id, gateway.pid, Escaped(what),
    );
}
