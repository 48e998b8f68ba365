//! Which gateway gets a connection, and what tells us that it has it.

use std::rc::Rc;
use std::time::Duration;

use common::ipc::channel::ChannelError;
use common::ipc::gateway::SupervisorToGateway;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::generation::Generation;
use super::intake::Intake;
use crate::roles::gateway::{Gateway, READ_DEADLINE};
use crate::roles::peer::Fault;
use crate::state::connections::Unserved;

/// How often acknowledgements are looked for while any is due and nothing else happens.
const ACKNOWLEDGEMENT_INTERVAL: Duration = Duration::from_millis(100);

/// Waits until some gateway can take a connection.
pub(crate) async fn room(intake: &Intake) {
    place(intake).await;
}

async fn place(intake: &Intake) -> (Rc<Generation>, Rc<Gateway>) {
    loop {
        let room = intake.state.room.notified();
        if let Some(found) = find_place(intake) {
            return found;
        }
        room.await;
    }
}

/// Whether there are as many connections as may be. `limits.connections` counts those of all generations.
pub(crate) fn is_full(intake: &Intake) -> bool {
    let limit = intake.generations.current().and_then(|generation| generation.config.limits.connections);
    limit.is_some_and(|limit| intake.generations.load() >= limit.get().into())
}

/// The gateway that the next connection goes to.
fn find_place(intake: &Intake) -> Option<(Rc<Generation>, Rc<Gateway>)> {
    if is_full(intake) {
        return None;
    }
    let generation = intake.generations.current()?;
    let gateway = generation.pool.least_loaded()?;
    Some((generation, gateway))
}

/// Gives a connection to the least loaded gateway, waiting until one can take it.
pub(crate) async fn hand_over(intake: &Intake, mut unserved: Unserved) {
    take_acknowledgements(intake);
    loop {
        let (generation, gateway) = place(intake).await;
        if generation.pool.begin_to_grow() {
            spawn_local(generation.clone().grow());
        }
        // Its place is taken while the message is on its way.
        gateway.load.set(gateway.load.get() + 1);
        let Unserved { id, client, socket, tried, unplaced } = unserved;
        // Each gateway that gets it needs a ticket of its own.
        let ticket = generation.mint.ticket(id, gateway.id, client);
        let message = SupervisorToGateway::Connection { ticket, socket };
        let sent = timeout(READ_DEADLINE, gateway.peer.channel.send(&message)).await;
        let SupervisorToGateway::Connection { ticket, socket } = message else { return };
        unserved = Unserved { id, client: ticket.claims.client, socket, tried, unplaced };
        match sent {
            Ok(Ok(())) => {
                let state = &intake.state;
                let (number, pid) = (generation.number, gateway.peer.pid);
                state.connections.borrow_mut().handed_over(unserved, number, gateway.id, pid);
                intake.handed_over.notify_one();
                state.note_change();
                return;
            }
            Ok(Err(error @ ChannelError::Closed)) => gateway.peer.condemn(error.into()),
            Ok(Err(error)) => {
                tracing::error!("giving up a connection: {error}");
                gateway.connection_done(&generation.scope);
                return;
            }
            Err(_) => gateway.peer.condemn(Fault::Hung),
        }
        gateway.connection_done(&generation.scope);
    }
}

/// Hands connections over that came back from a gateway.
pub(crate) async fn keep_offering(intake: Rc<Intake>) {
    loop {
        for (unserved, pause) in intake.state.returned.take().await {
            let intake = intake.clone();
            spawn_local(async move {
                sleep(pause).await;
                hand_over(&intake, unserved).await;
            });
        }
    }
}

/// Looks for what gateways have begun to serve, and closes our copies of those sockets.
pub(crate) fn take_acknowledgements(intake: &Intake) {
    for generation in intake.generations.all() {
        for gateway in generation.pool.all() {
            gateway.take_acknowledgements(&generation.scope);
        }
    }
}

/// Looks for acknowledgements now and then while any is due.
pub(crate) async fn keep_taking_acknowledgements(intake: Rc<Intake>) {
    loop {
        intake.handed_over.notified().await;
        while intake.state.connections.borrow().any_unbegun() {
            sleep(ACKNOWLEDGEMENT_INTERVAL).await;
            take_acknowledgements(&intake);
        }
    }
}
