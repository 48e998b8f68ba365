//! What is to be said to the supervisor. That the first byte of a connection is about to be read is said
//! at once; the ends of connections wait a moment, for company.

use std::cell::RefCell;
use std::mem::take;
use std::rc::Rc;
use std::time::Duration;

use common::ipc::ConnectionId;
use common::ipc::ack_channel::AckChannel;
use common::ipc::channel::{Channel, ChannelError};
use common::ipc::gateway::{Ack, Ended, GatewayToSupervisor, Report};
use common::ipc::request::Requested;
use tokio::sync::Notify;
use tokio::time::sleep;

/// How long an entry may wait for others: longer than the connector's word about a target, so that a
/// session is seldom over before it is known to have begun.
const MAX_DELAY: Duration = Duration::from_millis(15);

/// Entries that wait for the next report.
#[derive(Debug)]
pub(super) struct Outbox {
    supervisor: Rc<Channel>,
    acknowledgements: AckChannel,
    requested: RefCell<Vec<Requested>>,
    waiting: RefCell<Report>,
    filled: Notify,
}

impl Outbox {
    /// An outbox without entries.
    pub(super) fn new(supervisor: Rc<Channel>, acknowledgements: AckChannel) -> Rc<Self> {
        Rc::new(Self {
            supervisor,
            acknowledgements,
            requested: RefCell::default(),
            waiting: RefCell::default(),
            filled: Notify::new(),
        })
    }

    /// Says that the first byte of a connection is about to be read: were it read before and this process
    /// killed, the connection would be given to another gateway with its beginning missing.
    ///
    /// # Errors
    ///
    /// When the supervisor is gone.
    pub(super) async fn begun(&self, id: ConnectionId) -> Result<(), ChannelError> {
        while !self.acknowledgements.try_send(&Ack::Reading(id))? {
            // The supervisor looks there several times a second.
            sleep(MAX_DELAY).await;
        }
        Ok(())
    }

    /// Asks for a file for the recording of a session.
    ///
    /// # Errors
    ///
    /// When the supervisor is gone.
    pub(super) async fn record(&self, id: ConnectionId) -> Result<(), ChannelError> {
        self.supervisor.send(&GatewayToSupervisor::OpenRecording(id)).await
    }

    /// Says that a connection came without its socket.
    pub(super) fn lost(&self, id: ConnectionId) {
        self.waiting.borrow_mut().lost.push(id);
        self.filled.notify_one();
    }

    /// Says by what request a connection has become a session.
    pub(super) fn requested(&self, requested: Requested) {
        self.requested.borrow_mut().push(requested);
        self.filled.notify_one();
    }

    /// Says that a connection has ended.
    pub(super) fn ended(&self, ended: Ended) {
        self.waiting.borrow_mut().ended.push(ended);
        self.filled.notify_one();
    }

    /// Reports all entries that wait.
    pub(super) async fn report(&self) -> Result<(), ChannelError> {
        // A session's beginning comes before its end.
        let requested = take(&mut *self.requested.borrow_mut());
        for batch in requested.chunks(Requested::MAX_BATCH) {
            self.supervisor.send(&GatewayToSupervisor::Requested(batch.to_vec())).await?;
        }
        let Report { lost, ended } = take(&mut *self.waiting.borrow_mut());
        let (mut lost, mut ended) = (lost.into_iter(), ended.into_iter());
        loop {
            let report = Report {
                lost: lost.by_ref().take(Report::MAX_ENTRIES).collect(),
                ended: ended.by_ref().take(Report::MAX_ENTRIES).collect(),
            };
            if report.is_empty() {
                return Ok(());
            }
            self.supervisor.send(&GatewayToSupervisor::Report(report)).await?;
        }
    }

    /// Reports what comes in. Ends with the supervisor.
    pub(super) async fn keep_reporting(self: Rc<Self>) {
        loop {
            self.filled.notified().await;
            sleep(MAX_DELAY).await;
            if self.report().await.is_err() {
                return;
            }
        }
    }
}
