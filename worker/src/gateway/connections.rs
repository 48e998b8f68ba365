//! The open connections of a gateway, for orders of the supervisor that concern them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use common::ipc::gateway::{Count, EndCause, Ended, Frames, SessionSummary};
use common::ipc::offence::Offence;
use common::ipc::request::{Request, Requested};
use common::ipc::{ClientAddr, ConnectionId};
use common::sys::heap::{self, Peak};
use common::ticket::Ticket;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::outbox::Outbox;

/// Time after which the tasks of connections that have ended are freed as well.
const SETTLE_TIME: Duration = Duration::from_millis(50);

/// All open connections, and whether the supervisor has ordered them to end.
#[derive(Debug, Default)]
pub(super) struct Connections(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Set once the supervisor has ordered all connections to end.
    ending: Cell<Option<Ending>>,
    /// Set when the generation is retired: responses tell clients not to reuse their connections.
    retiring: Cell<bool>,
    open: RefCell<HashMap<ConnectionId, Weak<Connection>>>,
    peak: Cell<Peak>,
    /// Notified when so many connections have ended that their memory should be returned to the system.
    fallen: Notify,
    emptied: Notify,
}

/// Reason for which the supervisor ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The service stops.
    Shutdown,
    /// The generation is too old: `limits.generations` or `timeouts.drain` is exceeded.
    Restart,
    /// An administrator has disconnected the session.
    Disconnected,
    /// The session's token no longer allows it.
    Revoked,
}

impl From<EndCause> for Ending {
    fn from(cause: EndCause) -> Self {
        match cause {
            EndCause::Disconnected => Self::Disconnected,
            EndCause::Revoked => Self::Revoked,
            EndCause::Shutdown => Self::Shutdown,
        }
    }
}

/// Traffic counters of a session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved {
    /// Bytes of payload to the target.
    pub(super) to_target: u64,
    /// Bytes of payload to the client.
    pub(super) to_client: u64,
    /// Data frames, in both directions.
    pub(super) frames: Frames,
}

/// An open connection. Dropping it reports its end to the supervisor.
#[derive(Debug)]
pub(super) struct Connection {
    /// The supervisor's ticket, which the connector demands before it dials a target.
    pub(super) ticket: Ticket,
    /// Traffic of the session so far.
    moved: Cell<Moved>,
    summary: RefCell<Option<SessionSummary>>,
    /// Why this connection must end, if the others need not.
    own_ending: Cell<Option<Ending>>,
    offence: Cell<Option<Offence>>,
    /// The client of the current request, if proxies vouch for one.
    vouched: Cell<Option<SocketAddr>>,
    waker: RefCell<Option<Waker>>,
    since: Instant,
    shared: Rc<Shared>,
    outbox: Rc<Outbox>,
}

impl Connections {
    /// Registers a connection. Dropping the result removes it and reports its end.
    pub(super) fn enter(&self, ticket: Ticket, outbox: Rc<Outbox>) -> Rc<Connection> {
        let connection = Rc::new(Connection {
            ticket,
            moved: Cell::default(),
            summary: RefCell::default(),
            own_ending: Cell::default(),
            offence: Cell::default(),
            vouched: Cell::default(),
            waker: RefCell::default(),
            since: Instant::now(),
            shared: self.0.clone(),
            outbox,
        });
        self.0.open.borrow_mut().insert(connection.id(), Rc::downgrade(&connection));
        self.0.note_peak();
        connection
    }

    /// Orders every connection to end.
    pub(super) fn stop(&self, why: Ending) {
        self.0.ending.set(Some(why));
        self.wake_all();
        self.0.emptied.notify_one();
    }

    /// Disables keep-alive on all connections, so that the next request of a client reaches the new
    /// generation.
    pub(super) fn retire(&self) {
        self.0.retiring.set(true);
        self.wake_all();
    }

    /// Orders those of the connections `ids` to end that are open.
    pub(super) fn end(&self, ids: &[ConnectionId], why: Ending) {
        for connection in ids.iter().filter_map(|id| self.find(*id)) {
            connection.own_ending.set(Some(why));
            connection.wake();
        }
    }

    /// Returns the traffic of the sessions among `ids`. Connections that have ended are omitted.
    pub(super) fn count(&self, ids: &[ConnectionId]) -> Vec<Count> {
        let found = ids.iter().take(Count::MAX_BATCH).filter_map(|id| self.find(*id));
        found
            .map(|connection| {
                let Moved { to_target, to_client, frames } = connection.moved.get();
                Count { id: connection.id(), to_target, to_client, frames }
            })
            .collect()
    }

    /// Waits until [`Self::stop`] was called and all connections have ended.
    pub(super) async fn stopped(&self) {
        while !(self.0.ending.get().is_some() && self.0.open.borrow().is_empty()) {
            self.0.emptied.notified().await;
        }
    }

    /// Returns the memory of ended connections to the system, whenever many have ended.
    pub(super) async fn keep_releasing_memory(&self) {
        loop {
            self.0.fallen.notified().await;
            sleep(SETTLE_TIME).await;
            self.0.open.borrow_mut().shrink_to_fit();
            heap::release();
        }
    }

    fn find(&self, id: ConnectionId) -> Option<Rc<Connection>> {
        self.0.open.borrow().get(&id)?.upgrade()
    }

    fn wake_all(&self) {
        for connection in self.0.open.borrow().values() {
            if let Some(connection) = connection.upgrade() {
                connection.wake();
            }
        }
    }
}

impl Shared {
    fn note_peak(&self) {
        let mut peak = self.peak.get();
        if peak.falls_to(self.open.borrow().len()) {
            self.fallen.notify_one();
        }
        self.peak.set(peak);
    }
}

impl Connection {
    /// The number that the supervisor has assigned.
    pub(super) fn id(&self) -> ConnectionId {
        self.ticket.claims.connection
    }

    /// Time since the connection was accepted by this gateway.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Returns why the connection must end, if it must. Wakes the task of `cx` when this or
    /// [`Self::is_retiring`] changes.
    #[must_use]
    pub(super) fn poll_ending(&self, cx: &Context<'_>) -> Option<Ending> {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        // The order to all connections takes precedence, as it leaves less time.
        self.shared.ending.get().or(self.own_ending.get())
    }

    /// Whether the response to the current request should close the connection.
    pub(super) fn is_retiring(&self) -> bool {
        self.shared.retiring.get()
    }

    /// Takes the client that proxies vouch for; `None` if they don't.
    pub(super) fn vouch_for(&self, client: Option<SocketAddr>) {
        self.vouched.set(client);
    }

    /// The client: who has connected, or whom trusted proxies vouch for.
    pub(super) fn client(&self) -> ClientAddr {
        self.vouched.get().map_or_else(|| self.ticket.claims.client.clone(), ClientAddr::Ip)
    }

    /// The client that trusted proxies vouch for.
    pub(super) fn vouched(&self) -> Option<SocketAddr> {
        self.vouched.get()
    }

    /// The same for a log line.
    pub(super) fn vouched_text(&self) -> Option<String> {
        self.vouched.get().map(|client| client.to_string())
    }

    /// Updates the traffic counters of the session.
    pub(super) fn has_moved(&self, moved: Moved) {
        self.moved.set(moved);
    }

    /// Reports the request that opened the session.
    pub(super) fn session_requested(&self, request: Request) {
        self.outbox.requested(Requested { id: self.id(), request });
    }

    /// Stores the summary of the session, which the report of the connection's end includes.
    pub(super) fn session_ended(&self, summary: SessionSummary) {
        *self.summary.borrow_mut() = Some(summary);
    }

    /// Stores what the client is to be penalised for, which the report of the connection's end includes.
    pub(super) fn offended(&self, offence: Offence) {
        self.offence.set(Some(offence));
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.open.borrow_mut().remove(&self.id());
        self.shared.note_peak();
        self.outbox.ended(Ended {
            offence: self.offence.get(),
            vouched: self.vouched.get(),
            ..Ended::new(self.id(), self.summary.take())
        });
        if self.shared.ending.get().is_some() {
            self.shared.emptied.notify_one();
        }
    }
}
