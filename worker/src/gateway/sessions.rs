//! The open connections of a gateway, so that the supervisor's orders reach them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use common::ipc::gateway::{Ended, SessionSummary};
use common::ipc::{ClientAddr, ConnectionId};
use common::ticket::Ticket;
use tokio::sync::Notify;

use super::outbox::Outbox;

/// All connections, and whether they are to end.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    stopping: Rc<Cell<bool>>,
    wakers: Rc<RefCell<slab::Slab<Option<Waker>>>>,
    emptied: Rc<Notify>,
}

/// One connection, from its arrival to its end, which its drop reports.
#[derive(Debug)]
pub(super) struct Connection {
    /// What the supervisor says about it, and what lets it have a target.
    pub(super) ticket: Ticket,
    summary: RefCell<Option<SessionSummary>>,
    place: usize,
    stopping: Rc<Cell<bool>>,
    wakers: Rc<RefCell<slab::Slab<Option<Waker>>>>,
    emptied: Rc<Notify>,
    outbox: Rc<Outbox>,
}

impl Sessions {
    /// Counts a connection in.
    pub(super) fn enter(&self, ticket: Ticket, outbox: Rc<Outbox>) -> Rc<Connection> {
        Rc::new(Connection {
            ticket,
            summary: RefCell::default(),
            place: self.wakers.borrow_mut().insert(None),
            stopping: self.stopping.clone(),
            wakers: self.wakers.clone(),
            emptied: self.emptied.clone(),
            outbox,
        })
    }

    /// Tells every connection to end.
    pub(super) fn stop(&self) {
        self.stopping.set(true);
        for (_, waker) in self.wakers.borrow().iter() {
            if let Some(waker) = waker {
                waker.wake_by_ref();
            }
        }
        self.emptied.notify_one();
    }

    /// Waits until all connections have ended after [`Self::stop`].
    pub(super) async fn stopped(&self) {
        while !(self.stopping.get() && self.wakers.borrow().is_empty()) {
            self.emptied.notified().await;
        }
    }
}

impl Connection {
    /// Its number.
    pub(super) fn id(&self) -> ConnectionId {
        self.ticket.claims.connection
    }

    /// Where it comes from.
    pub(super) fn client(&self) -> &ClientAddr {
        &self.ticket.claims.client
    }

    /// Whether it is to end. The task of `cx` is woken when that changes.
    #[must_use]
    pub(super) fn poll_stopping(&self, cx: &Context<'_>) -> bool {
        if let Some(place) = self.wakers.borrow_mut().get_mut(self.place) {
            if !place.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *place = Some(cx.waker().clone());
            }
        }
        self.stopping.get()
    }

    /// Keeps what its session did for the report.
    pub(super) fn session_ended(&self, summary: SessionSummary) {
        *self.summary.borrow_mut() = Some(summary);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.wakers.borrow_mut().try_remove(self.place);
        self.outbox.ended(Ended { id: self.id(), session: self.summary.take() });
        if self.stopping.get() {
            self.emptied.notify_one();
        }
    }
}
