//! Messages to the supervisor. An acknowledgement that a connection is about to be read is sent at once; ends
//! of connections are batched.

use std::cell::RefCell;
use std::mem::take;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use common::ipc::ConnectionId;
use common::ipc::ack_channel::AckChannel;
use common::ipc::channel::{Channel, ChannelError};
use common::ipc::gateway::{Ack, Ended, GatewayToSupervisor, Report};
use common::ipc::request::Requested;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Time for which entries are batched. It exceeds the delay of the connector's report of a target, so that
/// the supervisor seldom hears of a session's end before its beginning.
const MAX_DELAY: Duration = Duration::from_millis(15);

/// Entries of the next report.
#[derive(Debug)]
pub(super) struct Outbox {
    supervisor: Rc<Channel>,
    acknowledgements: AckChannel,
    requested: RefCell<Vec<Requested>>,
    waiting: RefCell<Report>,
    filled: Notify,
}

impl Outbox {
    /// Creates an empty outbox.
    pub(super) fn new(supervisor: Rc<Channel>, acknowledgements: AckChannel) -> Rc<Self> {
        Rc::new(Self {
            supervisor,
            acknowledgements,
            requested: RefCell::default(),
            waiting: RefCell::default(),
            filled: Notify::new(),
        })
    }

    /// Acknowledges that the first byte of a connection is about to be read. Nothing may be read before: if
    /// this process were killed in between, another gateway would get the connection without its first bytes. `is_tls`
    /// tells whether that byte begins a TLS handshake.
    ///
    /// # Errors
    ///
    /// Fails if the supervisor is gone.
    pub(super) async fn acknowledge(&self, id: ConnectionId, is_tls: bool) -> Result<(), ChannelError> {
        let ack = if is_tls { Ack::ReadingTls(id) } else { Ack::Reading(id) };
        while !self.acknowledgements.try_send(&ack)? {
            // The channel is full. The supervisor empties it several times a second.
            sleep(MAX_DELAY).await;
        }
        Ok(())
    }

    /// Asks the supervisor to open a file for the recording of a session, whose client is `vouched`.
    ///
    /// # Errors
    ///
    /// Fails if the supervisor is gone.
    pub(super) async fn record(
        &self,
        id: ConnectionId,
        vouched: Option<SocketAddr>,
    ) -> Result<(), ChannelError> {
        self.supervisor.send(&GatewayToSupervisor::OpenRecording { id, vouched }).await
    }

    /// Reports that the socket of a connection was lost on its way.
    pub(super) fn lost(&self, id: ConnectionId) {
        self.waiting.borrow_mut().lost.push(id);
        self.filled.notify_one();
    }

    /// Reports the request by which a connection has become a session.
    pub(super) fn requested(&self, requested: Requested) {
        self.requested.borrow_mut().push(requested);
        self.filled.notify_one();
    }

    /// Reports that a connection has ended.
    pub(super) fn ended(&self, ended: Ended) {
        self.waiting.borrow_mut().ended.push(ended);
        self.filled.notify_one();
    }

    /// Sends all pending entries.
    pub(super) async fn report(&self) -> Result<(), ChannelError> {
        // The beginning of a session is sent before its end.
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

    /// Sends entries as they arrive, until the supervisor is gone.
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
