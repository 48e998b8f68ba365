//! Which gateway gets a connection, and what tells us that it has it.

use std::rc::Rc;
use std::time::Duration;

use common::ipc::channel::ChannelError;
use common::ipc::gateway::{Ack, SupervisorToGateway};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::path::generation::Generation;
use crate::roles::gateway::{self, Gateway};
use crate::roles::violation::{self, GatewayFault};
use crate::run::Service;
use crate::state::connections::Unserved;

/// Pause before a connection is offered again that a gateway could not receive.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// How often acknowledgements are looked for while any is due and nothing else happens.
const ACKNOWLEDGEMENT_INTERVAL: Duration = Duration::from_millis(100);

/// Acknowledgements of one gateway that are taken at a look: more than the kernel keeps, and an end to the
/// look should a gateway send them faster than they can be read.
const MAX_ACKNOWLEDGEMENTS: u32 = 1024;

/// What tells waiting connections when to go on.
#[derive(Debug, Default)]
pub(crate) struct Dispatch {
    /// A gateway has more room than before.
    room: Notify,
    /// A connection was handed over, and an acknowledgement will come.
    handed_over: Notify,
}

impl Dispatch {
    /// A connection may find a place that did not before.
    pub(crate) fn more_room(&self) {
        self.room.notify_waiters();
    }
}

/// Waits until some gateway can take a connection.
pub(crate) async fn room(service: &Service) {
    place(service).await;
}

async fn place(service: &Service) -> (Rc<Generation>, Rc<Gateway>) {
    loop {
        let room = service.dispatch.room.notified();
        if let Some(found) = find_place(service) {
            return found;
        }
        room.await;
    }
}

/// Whether there are as many connections as may be. `limits.connections` counts those of all generations.
pub(crate) fn is_full(service: &Service) -> bool {
    let limit = service.generations.current().and_then(|generation| generation.config.limits.connections);
    limit.is_some_and(|limit| service.generations.load() >= limit.into())
}

/// The gateway that the next connection goes to.
fn find_place(service: &Service) -> Option<(Rc<Generation>, Rc<Gateway>)> {
    if is_full(service) {
        return None;
    }
    let generation = service.generations.current()?;
    let gateway = generation.pool.least_loaded()?;
    Some((generation, gateway))
}

/// Gives a connection to the least loaded gateway, waiting until one can take it.
pub(crate) async fn hand_over(service: &Rc<Service>, mut unserved: Unserved) {
    take_acknowledgements(service);
    loop {
        let (generation, gateway) = place(service).await;
        if generation.pool.begin_to_grow() {
            spawn_local(gateway::grow(generation.clone()));
        }
        // Its place is taken while the message is on its way.
        gateway.load.set(gateway.load.get() + 1);
        let Unserved { id, client, socket, tried, unplaced } = unserved;
        // Each gateway that gets it needs a ticket of its own.
        let ticket = generation.mint.ticket(id, gateway.id, client);
        let message = SupervisorToGateway::Connection { ticket, socket };
        let sent = timeout(gateway::READ_DEADLINE, gateway.channel.send(&message)).await;
        let SupervisorToGateway::Connection { ticket, socket } = message else { return };
        unserved = Unserved { id, client: ticket.claims.client, socket, tried, unplaced };
        if matches!(sent, Ok(Ok(()))) {
            service.connections.borrow_mut().handed_over(
                unserved,
                generation.number,
                gateway.id,
                gateway.pid,
            );
            service.dispatch.handed_over.notify_one();
            service.note_change();
            return;
        }
        gateway::lighten(&generation, &gateway);
        match sent {
            // Its keeper sees the same and clears up behind it.
            Ok(Err(ChannelError::Closed)) => _ = generation.pool.remove(gateway.id),
            Ok(Err(error)) => {
                tracing::error!(target: "websockify::dispatch", "giving up a connection: {error}");
                return;
            }
            _ => violation::condemn(&generation, &gateway, &GatewayFault::Hung),
        }
    }
}

/// Gives a connection to some gateway a moment after one could not receive it.
pub(crate) async fn offer_again(service: Rc<Service>, unserved: Unserved) {
    sleep(RETRY_PAUSE).await;
    hand_over(&service, unserved).await;
}

/// Looks for what gateways have begun to serve, and closes our copies of those sockets.
pub(crate) fn take_acknowledgements(service: &Service) {
    for generation in service.generations.all() {
        for gateway in generation.pool.all() {
            if let Err(error) = take_acknowledgements_of(service, &gateway) {
                violation::condemn(&generation, &gateway, &error.into());
            }
        }
    }
}

/// The same for one gateway.
pub(crate) fn take_acknowledgements_of(service: &Service, gateway: &Gateway) -> Result<(), ChannelError> {
    for _ in 0..MAX_ACKNOWLEDGEMENTS {
        let Some(Ack::Reading(id)) = gateway.acknowledgements.try_receive()? else { break };
        // What it says about others than its own, or twice, has no effect.
        service.connections.borrow_mut().begun(id, gateway.id);
    }
    Ok(())
}

/// Looks for acknowledgements now and then while any is due.
pub(crate) async fn keep_taking_acknowledgements(service: Rc<Service>) {
    loop {
        service.dispatch.handed_over.notified().await;
        while service.connections.borrow().any_unbegun() {
            sleep(ACKNOWLEDGEMENT_INTERVAL).await;
            take_acknowledgements(&service);
        }
    }
}
