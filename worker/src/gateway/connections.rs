//! The open connections of a gateway, so that the supervisor's orders reach them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use common::ipc::ConnectionId;
use common::ipc::gateway::{Count, Ended, Frames, SessionSummary};
use common::ipc::request::{Request, Requested};
use common::ticket::Ticket;
use tokio::sync::Notify;

use super::outbox::Outbox;

/// The open connections, and whether they are to end.
#[derive(Debug, Default)]
pub(super) struct Connections(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Why all are to end, if they are.
    ending: Cell<Option<Ending>>,
    /// No connection follows, and nobody shall come back on one that is there.
    retiring: Cell<bool>,
    open: RefCell<HashMap<ConnectionId, Weak<Connection>>>,
    emptied: Notify,
}

/// Why the supervisor wants a connection to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The service stops.
    Shutdown,
    /// A newer configuration has replaced this gateway's, and time is up.
    Restart,
    /// An administrator has disconnected it.
    Disconnected,
}

/// What a session has moved so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved {
    /// Bytes of payload to the target.
    pub(super) to_target: u64,
    /// Bytes of payload to the client.
    pub(super) to_client: u64,
    /// Data frames, in both directions.
    pub(super) frames: Frames,
}

/// One connection, from its arrival to its end, which its drop reports.
#[derive(Debug)]
pub(super) struct Connection {
    /// What the supervisor says about it, and what lets it have a target.
    pub(super) ticket: Ticket,
    /// What its session has moved so far.
    moved: Cell<Moved>,
    summary: RefCell<Option<SessionSummary>>,
    disconnected: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    since: Instant,
    shared: Rc<Shared>,
    outbox: Rc<Outbox>,
}

impl Connections {
    /// Adds a connection. Dropping it takes it out again, and reports its end.
    pub(super) fn enter(&self, ticket: Ticket, outbox: Rc<Outbox>) -> Rc<Connection> {
        let connection = Rc::new(Connection {
            ticket,
            moved: Cell::default(),
            summary: RefCell::default(),
            disconnected: Cell::new(false),
            waker: RefCell::default(),
            since: Instant::now(),
            shared: self.0.clone(),
            outbox,
        });
        self.0.open.borrow_mut().insert(connection.id(), Rc::downgrade(&connection));
        connection
    }

    /// Tells every connection to end.
    pub(super) fn stop(&self, why: Ending) {
        self.0.ending.set(Some(why));
        self.wake_all();
        self.0.emptied.notify_one();
    }

    /// Lets no client come back on a connection that it has.
    pub(super) fn retire(&self) {
        self.0.retiring.set(true);
        self.wake_all();
    }

    /// Tells a connection to end, if it is still there.
    pub(super) fn disconnect(&self, id: ConnectionId) {
        if let Some(connection) = self.find(id) {
            connection.disconnected.set(true);
            connection.wake();
        }
    }

    /// What the sessions among `ids` have moved so far; connections that are gone are left out.
    pub(super) fn count(&self, ids: &[ConnectionId]) -> Vec<Count> {
        let found = ids.iter().take(Count::MAX_BATCH).filter_map(|id| self.find(*id));
        found
            .map(|connection| {
                let Moved { to_target, to_client, frames } = connection.moved.get();
                Count { id: connection.id(), to_target, to_client, frames }
            })
            .collect()
    }

    /// Waits until all connections have ended after [`Self::stop`].
    pub(super) async fn stopped(&self) {
        while !(self.0.ending.get().is_some() && self.0.open.borrow().is_empty()) {
            self.0.emptied.notified().await;
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

impl Connection {
    /// The number that the supervisor gave it.
    pub(super) fn id(&self) -> ConnectionId {
        self.ticket.claims.connection
    }

    /// How long it has been open.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether it is to end, and why. The task of `cx` is woken when that changes, and when
    /// [`Self::is_retiring`] does.
    #[must_use]
    pub(super) fn poll_ending(&self, cx: &Context<'_>) -> Option<Ending> {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        let disconnected = self.disconnected.get().then_some(Ending::Disconnected);
        // The end of all leaves less time.
        self.shared.ending.get().or(disconnected)
    }

    /// Whether the client's next request had better come on another connection.
    pub(super) fn is_retiring(&self) -> bool {
        self.shared.retiring.get()
    }

    /// Notes how far its session is.
    pub(super) fn has_moved(&self, moved: Moved) {
        self.moved.set(moved);
    }

    /// Tells by what request it has become a session.
    pub(super) fn session_requested(&self, request: Request) {
        self.outbox.requested(Requested { id: self.id(), request });
    }

    /// Keeps what its session did for the report.
    pub(super) fn session_ended(&self, summary: SessionSummary) {
        *self.summary.borrow_mut() = Some(summary);
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
        self.outbox.ended(Ended { id: self.id(), session: self.summary.take() });
        if self.shared.ending.get().is_some() {
            self.shared.emptied.notify_one();
        }
    }
}
