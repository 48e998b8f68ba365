//! Hands connections over to gateways, and handles acknowledgements.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use common::config::ProxyProtocol;
use common::ipc::channel::ChannelError;
use common::ipc::gateway::SupervisorToGateway;
use common::ipc::{ConnectionId, GatewayId};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::generation::Generation;
use super::intake::Intake;
use crate::roles::gateway::{Gateway, READ_DEADLINE};
use crate::roles::peer::Fault;
use crate::roles::setup;
use crate::state::connections::{Offered, Todo};

/// Pause before a connection that a gateway could not receive is offered again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Time beyond `timeouts.first-byte` for which a gateway may leave a connection unread. A gateway ends
/// connections of silent clients, so one that neither acknowledges nor ends them is at fault. The margin
/// allows for many clients at once.
const UNREAD_MARGIN: Duration = Duration::from_secs(10);

/// Interval at which acknowledgements are polled while any is due and nothing else happens.
const ACKNOWLEDGEMENT_INTERVAL: Duration = Duration::from_millis(100);

/// Waits until a gateway can take a connection.
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

/// Whether `limits.connections` is reached, counted over all generations.
pub(crate) fn is_full(intake: &Intake) -> bool {
    let limit = intake.generations.current().and_then(|generation| generation.config.limits.connections);
    limit.is_some_and(|limit| intake.state.connections.borrow().load() >= limit.get().into())
}

/// Chooses the gateway for the next connection.
fn find_place(intake: &Intake) -> Option<(Rc<Generation>, Rc<Gateway>)> {
    if is_full(intake) {
        return None;
    }
    let generation = intake.generations.current()?;
    let gateway = generation.pool.choose(&intake.state.connections.borrow())?;
    Some((generation, gateway))
}

/// Hands a waiting connection over as soon as a gateway can take it.
pub(crate) async fn hand_over(intake: &Intake, id: ConnectionId) {
    take_acknowledgements(intake);
    let state = &intake.state;
    loop {
        let (generation, gateway) = place(intake).await;
        if generation.pool.begin_to_grow() {
            spawn_local(generation.clone().grow());
        }
        // The connection counts for its gateway while the message is on its way.
        let (number, pid) = (generation.number, gateway.peer.pid);
        let trusted = &generation.config.proxy.trusted;
        let offered = state.connections.borrow_mut().offer(id, number, gateway.id, pid, trusted);
        let Some(Offered { client, proxy_header, socket }) = offered else { return };
        // The policy of a token may choose a version of the PROXY protocol.
        let is_told = generation.config.target_proxy_protocol != ProxyProtocol::Off
            || setup::has_policies(&generation.config);
        let listener = is_told.then(|| local_address(&socket)).flatten();
        let ticket = generation.mint.ticket(id, gateway.id, client, listener);
        gateway.given.set(gateway.given.get() + 1);
        let message = SupervisorToGateway::Connection { ticket, proxy_header, socket };
        let sent = timeout(READ_DEADLINE, gateway.peer.channel.send(&message)).await;
        let SupervisorToGateway::Connection { socket, .. } = message else { return };
        if matches!(sent, Ok(Ok(()))) {
            gateway.handed.set(gateway.handed.get() + 1);
            gateway.peer.role_output.add_connection();
            if let Some(connector) = &*generation.scope.connector.borrow() {
                connector.role_output.add_connection();
            }
            state.leave(state.connections.borrow_mut().delivered(id, socket));
            intake.handed_over.notify_one();
            return;
        }
        state.leave(state.connections.borrow_mut().undelivered(id, socket));
        match sent {
            Ok(Err(error)) if !matches!(error, ChannelError::Closed) => {
                tracing::error!("dropping a connection: {error}");
                state.leave(state.connections.borrow_mut().abandon(id));
                return;
            }
            Ok(_) => gateway.peer.kill_for_fault(ChannelError::Closed.into()),
            Err(_) => gateway.peer.kill_for_fault(Fault::Hung),
        }
    }
}

/// The address that a client has connected to; `None` for a unix socket.
fn local_address(socket: &impl AsFd) -> Option<SocketAddr> {
    rustix::net::getsockname(socket).ok()?.try_into().ok()
}

/// Carries out the effects of connection events, for the life of the service.
pub(crate) async fn keep_doing(intake: Rc<Intake>) {
    loop {
        let todo = intake.state.todo.take().await;
        carry_out(&intake, todo);
    }
}

fn carry_out(intake: &Rc<Intake>, todo: Todo) {
    let Todo { offers, violations, hung, freed, settle: _ } = todo;
    for (id, from) in offers {
        if intake.state.stopping.get() {
            intake.state.leave(intake.state.connections.borrow_mut().abandon(id));
            continue;
        }
        // A live gateway that could not receive the connection may need a moment.
        let pause = from.and_then(|from| find(intake, from)).map_or(Duration::ZERO, |_| RETRY_PAUSE);
        let intake = intake.clone();
        spawn_local(async move {
            sleep(pause).await;
            hand_over(&intake, id).await;
        });
    }
    let violations = violations.into_iter().map(|(gateway, id)| (gateway, Fault::foreign(id)));
    for (gateway, fault) in violations.chain(hung.into_iter().map(|gateway| (gateway, Fault::Hung))) {
        if let Some((_, gateway)) = find(intake, gateway) {
            gateway.peer.kill_for_fault(fault);
        }
    }
    if freed.is_empty() {
        return;
    }
    for id in freed {
        // A retired generation does not need a gateway without connections.
        let is_idle = intake.state.connections.borrow().load_of(id) == 0;
        if let Some((generation, gateway)) = find(intake, id).filter(|_| is_idle) {
            if generation.is_retired() {
                gateway.end_idle();
                generation.end_unneeded_roles();
            }
        }
    }
    intake.state.room.notify_waiters();
}

/// The gateway with this number, and its generation.
pub(super) fn find(intake: &Intake, id: GatewayId) -> Option<(Rc<Generation>, Rc<Gateway>)> {
    intake.generations.all().into_iter().find_map(|generation| {
        let gateway = generation.pool.all().into_iter().find(|gateway| gateway.id == id)?;
        Some((generation, gateway))
    })
}

/// Reads acknowledgements of all gateways, and closes the copies of the sockets that they have begun to read.
pub(crate) fn take_acknowledgements(intake: &Intake) {
    for generation in intake.generations.all() {
        for gateway in generation.pool.all() {
            gateway.take_acknowledgements(&generation.scope);
        }
    }
}

/// Polls acknowledgements while any is due, and detects gateways that leave connections unread. Time is
/// counted in intervals, so that no role is blamed if the whole service was stopped for a while.
pub(crate) async fn keep_taking_acknowledgements(intake: Rc<Intake>) {
    let state = &intake.state;
    loop {
        while state.connections.borrow().any_unread() {
            sleep(ACKNOWLEDGEMENT_INTERVAL).await;
            take_acknowledgements(&intake);
            let generations = intake.generations.all();
            let limit = |number| {
                let generation = generations.iter().find(|generation| generation.number == number);
                let first_byte = generation.map(|generation| generation.config.timeouts.first_byte);
                first_byte.map_or(Duration::MAX, |first_byte| first_byte.saturating_add(UNREAD_MARGIN))
            };
            let todo = state.connections.borrow_mut().overdue(ACKNOWLEDGEMENT_INTERVAL, limit);
            if !todo.hung.is_empty() {
                state.leave(todo);
            }
        }
        intake.handed_over.notified().await;
    }
}
