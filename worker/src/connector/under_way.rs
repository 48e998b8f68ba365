//! Requests in progress, and connections that the supervisor wants settled.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::mem::take;
use std::rc::Rc;

use common::ipc::ConnectionId;
use tokio::sync::Notify;

/// All requests in progress.
#[derive(Debug)]
pub(super) struct UnderWay(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Requests by connection. There is one at a time for each, because it uses the connection's ticket.
    requests: RefCell<HashMap<ConnectionId, Rc<GivenUp>>>,
    /// Settled connections that are not reported yet.
    settled: RefCell<Vec<ConnectionId>>,
    has_reports: Rc<Notify>,
}

#[derive(Debug, Default)]
struct GivenUp {
    is_given_up: Cell<bool>,
    changed: Notify,
}

/// A request in progress, until it is answered.
pub(super) struct Answering {
    id: ConnectionId,
    given_up: Rc<GivenUp>,
    shared: Rc<Shared>,
}

impl UnderWay {
    /// Creates the state without requests. `has_reports` is notified when there is something to report to
    /// the supervisor.
    pub(super) fn new(has_reports: Rc<Notify>) -> Self {
        Self(Rc::new(Shared { requests: RefCell::default(), settled: RefCell::default(), has_reports }))
    }

    /// Registers the request of a connection.
    pub(super) fn begin(&self, id: ConnectionId) -> Answering {
        let given_up = Rc::<GivenUp>::default();
        self.0.requests.borrow_mut().insert(id, given_up.clone());
        Answering { id, given_up, shared: self.0.clone() }
    }

    /// Settles a connection that has ended: at once, or when its request in progress has ended.
    pub(super) fn settle(&self, id: ConnectionId) {
        if let Some(request) = self.0.requests.borrow().get(&id) {
            request.is_given_up.set(true);
            request.changed.notify_one();
            return;
        }
        self.0.settle(id);
    }

    /// Returns the connections that were settled since the last call.
    pub(super) fn take_settled(&self) -> Vec<ConnectionId> {
        take(&mut *self.0.settled.borrow_mut())
    }
}

impl Shared {
    fn settle(&self, id: ConnectionId) {
        self.settled.borrow_mut().push(id);
        self.has_reports.notify_one();
    }
}

impl Answering {
    /// Waits until the connection has ended.
    pub(super) async fn given_up(&self) {
        while !self.given_up.is_given_up.get() {
            self.given_up.changed.notified().await;
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.shared.requests.borrow_mut().remove(&self.id);
        if self.given_up.is_given_up.get() {
            self.shared.settle(self.id);
        }
    }
}
