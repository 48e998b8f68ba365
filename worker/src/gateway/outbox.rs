//! What is to be reported to the supervisor, gathered so that one message tells of all connections
//! that moved in the same turn of the event loop.

use std::cell::RefCell;
use std::mem::take;
use std::rc::Rc;

use common::ipc::ConnectionId;
use common::ipc::channel::Channel;
use common::ipc::gateway::{Ended, GatewayToSupervisor, Report};
use tokio::sync::Notify;

/// Entries that wait for the next report.
#[derive(Debug)]
pub(super) struct Outbox {
    supervisor: Rc<Channel>,
    waiting: RefCell<Report>,
    filled: Notify,
    sent: Notify,
}

impl Outbox {
    /// An empty one.
    pub(super) fn new(supervisor: Rc<Channel>) -> Rc<Self> {
        let (filled, sent) = (Notify::new(), Notify::new());
        Rc::new(Self { supervisor, waiting: RefCell::default(), filled, sent })
    }

    /// Says that the first byte of a connection is about to be read, and waits until the supervisor
    /// can know: were the byte read before and this process killed, the connection would be given to
    /// another gateway with its beginning missing.
    pub(super) async fn begun(&self, id: ConnectionId) {
        let sent = self.sent.notified();
        self.waiting.borrow_mut().begun.push(id);
        self.filled.notify_one();
        sent.await;
    }

    /// Says that a connection came without its socket.
    pub(super) fn lost(&self, id: ConnectionId) {
        self.waiting.borrow_mut().lost.push(id);
        self.filled.notify_one();
    }

    /// Says that a connection has ended.
    pub(super) fn ended(&self, ended: Ended) {
        self.waiting.borrow_mut().ended.push(ended);
        self.filled.notify_one();
    }

    /// Waits until everything so far was reported.
    pub(super) async fn reported(&self) {
        while !self.waiting.borrow().is_empty() {
            self.sent.notified().await;
        }
    }

    /// Reports what comes in. Ends with the supervisor.
    pub(super) async fn keep_reporting(self: Rc<Self>) {
        loop {
            self.filled.notified().await;
            // Whatever else is ready in this turn may still add to the report.
            tokio::task::yield_now().await;
            let Report { begun, lost, ended } = take(&mut *self.waiting.borrow_mut());
            let mut lists = (begun.into_iter(), lost.into_iter(), ended.into_iter());
            loop {
                let report = Report {
                    begun: lists.0.by_ref().take(Report::MAX_ENTRIES).collect(),
                    lost: lists.1.by_ref().take(Report::MAX_ENTRIES).collect(),
                    ended: lists.2.by_ref().take(Report::MAX_ENTRIES).collect(),
                };
                if report.is_empty() {
                    break;
                }
                if self.supervisor.send(&GatewayToSupervisor::Report(report)).await.is_err() {
                    return;
                }
            }
            self.sent.notify_waiters();
        }
    }
}
