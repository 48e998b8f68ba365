//! The connector: started first, kept alive, and introduced to every gateway.

use std::rc::Rc;
use std::time::Instant;

use common::ipc::channel::{Channel, ChannelError};
use common::ipc::connector::{ConnectorToSupervisor, Dialled, SupervisorToConnector};
use common::ipc::gateway::SupervisorToGateway;
use common::ipc::setup;
use common::log::Escaped;
use tokio::time::timeout;

use crate::os::log::message_id;
use crate::path::generation::Generation;
use crate::roles::gateway::{self, Gateway};
use crate::roles::liveness;
use crate::roles::role::{self, Backoff, Role};
use crate::roles::violation;
use crate::roles::wrapper::{self, Program};
use crate::run::ServiceError;
use crate::state::connections::Opening;

/// Starts the connector and waits until it is ready.
pub(crate) async fn start(generation: &Generation) -> Result<Role, ServiceError> {
    let setups = generation.setups()?;
    let network = generation.program.as_ref().and_then(|program| program.network());
    let role = wrapper::within(network, || Role::start("connector", generation.config.sandbox))?;
    let prepared = async {
        role.channel.send(&SupervisorToConnector::Setup(setups.connector.try_clone()?)).await?;
        role.channel.receive::<ConnectorToSupervisor>().await
    };
    let failed = |reason: String| ServiceError::Role { role: "connector", reason };
    match timeout(role::START_DEADLINE, prepared).await {
        Ok(Ok(ConnectorToSupervisor::Ready(level))) => {
            generation.confinement.admit(level).map_err(failed)?;
            tell_spent(generation, &role.channel).await.map_err(|error| failed(error.to_string()))?;
            generation.tokens.tell(&role.channel).await.map_err(|error| failed(error.to_string()))?;
            *generation.connector.borrow_mut() = Some(role.channel.clone());
            *generation.connector_handle.borrow_mut() = Some(role.handle());
            if let Some(program) = &generation.program {
                program.keep_telling(&role.channel);
            }
            Ok(role)
        }
        Ok(Ok(ConnectorToSupervisor::Failed(reason))) => Err(failed(reason)),
        Ok(Ok(_)) => Err(failed("it spoke before it was ready".into())),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("not ready in time".into())),
    }
}

/// Says which tickets a connector must not take, for one before it may have.
async fn tell_spent(generation: &Generation, connector: &Channel) -> Result<(), ChannelError> {
    let past = setup::file(&generation.service.connections.borrow().past())?;
    let told = SupervisorToConnector::SpentBefore(past);
    timeout(role::START_DEADLINE, connector.send(&told)).await.map_err(|_| ChannelError::Closed)?
}

/// Gives a gateway and the connector a channel between them. Does nothing while there is no connector:
/// the next one is introduced to every gateway.
pub(crate) async fn introduce(generation: &Generation, gateway: &Gateway) -> Result<(), ChannelError> {
    let Some(connector) = generation.connector.borrow().clone() else { return Ok(()) };
    let (for_gateway, channel) = Channel::pair()?;
    let introduction = SupervisorToConnector::Gateway { id: gateway.id, channel };
    let told = connector.send(&introduction);
    timeout(role::START_DEADLINE, told).await.map_err(|_| ChannelError::Closed)??;
    gateway::tell(generation, gateway, &SupervisorToGateway::Connector(for_gateway)).await
}

/// Keeps the connector: takes what it says, and when it has died starts another in its place.
/// Sessions that are open don't need it.
pub(crate) async fn keep(generation: Rc<Generation>, first: Role) {
    let mut backoff = Backoff::new();
    let mut started = Some(first);
    while let Some(role) = started.take() {
        let since = Instant::now();
        let pulse = &generation.connector_pulse;
        let hangs = liveness::until_silent(&generation.service, async || {
            pulse.ask(&role.channel, &SupervisorToConnector::Ping).await;
        });
        let error = tokio::select! {
            error = listen(&generation, &role.channel) => error.to_string(),
            () = hangs => "it hangs".into(),
        };
        *generation.connector.borrow_mut() = None;
        *generation.connector_handle.borrow_mut() = None;
        generation.service.connections.borrow_mut().connector_gone(generation.number);
        let pid = role.process.pid;
        let status = role.process.kill().await;
        if generation.service.stopping.get() || generation.is_retired() {
            return;
        }
        tracing::error!(
            target: "websockify::connector",
            message_id = message_id::ROLE_DIED,
            websockify_role = "connector",
            websockify_worker_pid = pid,
            "the connector (pid {pid}) is gone ({error}; {}); starting another",
            role::describe(status),
        );
        while started.is_none() && !generation.is_retired() {
            backoff.pause(since.elapsed()).await;
            match start(&generation).await {
                Ok(again) => started = Some(again),
                Err(error) => tracing::error!(target: "websockify::connector", "{error}; trying again"),
            }
        }
        for plugin in &generation.plugins {
            plugin.restart();
        }
        for gateway in generation.pool.all() {
            // A gateway that can't be told is dead; the one that follows it is introduced.
            let _ = introduce(&generation, &gateway).await;
        }
    }
}

async fn listen(generation: &Generation, channel: &Channel) -> ChannelError {
    loop {
        match channel.receive().await {
            Ok(message) => take(generation, message),
            Err(error) => return error,
        }
    }
}

fn take(generation: &Generation, message: ConnectorToSupervisor) {
    match message {
        ConnectorToSupervisor::Dialled(all) => {
            let program = generation.program.as_deref();
            for dialled in all {
                log_dialled(&dialled, program);
                if dialled.failure.is_none() {
                    let target = match program {
                        Some(program) => {
                            program.note_session();
                            program.describe()
                        }
                        None => Escaped(&dialled.target).to_string(),
                    };
                    if let Some(connect) = dialled.connect {
                        generation.service.connects.borrow_mut().count(connect);
                    }
                    let short = |text: &Option<String>| text.as_deref().map(|text| Escaped(text).to_string());
                    let opening = Opening {
                        target,
                        user: short(&dialled.user),
                        auth_method: generation.auth_method(),
                        token: short(&dialled.token),
                        connect: dialled.connect,
                    };
                    generation.service.connections.borrow_mut().opened(dialled.id, opening);
                }
            }
            generation.service.note_change();
        }
        ConnectorToSupervisor::Violation(violation) => {
            violation::accused(generation, "connector", &violation)
        }
        ConnectorToSupervisor::Pong => generation.connector_pulse.heard(),
        ConnectorToSupervisor::PluginHangs(kind) => {
            if let Some(plugin) = generation.plugins.iter().find(|plugin| plugin.kind == kind) {
                plugin.hangs();
            }
        }
        ConnectorToSupervisor::Ready(_) | ConnectorToSupervisor::Failed(_) => {
            unreachable!("the channel accepts it once")
        }
    }
}

/// The original's lines. The connector is no more trusted than other roles.
fn log_dialled(dialled: &Dialled, program: Option<&Program>) {
    let client = Escaped(&dialled.client).to_string();
    let target = Escaped(&dialled.target).to_string();
    let secured = if dialled.secured { " (using SSL)" } else { "" };
    match (program, target.strip_prefix("unix:")) {
        (Some(program), _) => {
            let program = program.describe();
            tracing::info!(
                target: "websockify::connector", websockify_client = client,
                "connecting to command: {program}{secured}",
            );
        }
        (None, Some(path)) => {
            tracing::info!(target: "websockify::connector", websockify_client = client, "connecting to unix socket: {path}");
        }
        (None, None) => tracing::info!(
            target: "websockify::connector", websockify_client = client, "connecting to: {target}{secured}",
        ),
    }
    if let Some(failure) = &dialled.failure {
        let failure = Escaped(failure);
        tracing::info!(
            target: "websockify::connector",
            message_id = message_id::TARGET_UNREACHABLE,
            websockify_client = client,
            websockify_target = target,
            "Failed to connect to {target}: {failure}",
        );
    }
}
