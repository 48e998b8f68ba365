//! Requests for admission: the gateway asks the connector for a target or for the permission to send a page.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use common::ipc::ConnectionId;
use common::ipc::admission::{
    AdmissionRequest, ConnectorToGateway, GatewayToConnector, Refusal, SessionTerms,
};
use common::ipc::channel::{Channel, Received};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

/// An answer of the connector.
type Admission = Result<Granted, Refusal>;

/// What the connector grants.
#[derive(Debug)]
enum Granted {
    /// The target.
    Target(Admitted),
    /// A target that is not there yet.
    Later(oneshot::Receiver<Admission>),
    /// A page.
    Page,
}

/// A target that is there now, or will be.
pub enum Target {
    /// The target.
    Now(Admitted),
    /// The target is not there yet.
    Later(PendingTarget),
}

/// A target that the connector dials until it is there.
pub struct PendingTarget {
    answer: oneshot::Receiver<Admission>,
    /// Keeps the channel open.
    _connector: Rc<Connector>,
}

impl PendingTarget {
    /// Waits for the target, at most `patience`.
    ///
    /// # Errors
    ///
    /// The same as those of [`Connector::admit`].
    pub async fn arrive(self, patience: Duration) -> Result<Admitted, Refusal> {
        match timeout(patience, self.answer).await {
            Ok(Ok(Ok(Granted::Target(admitted)))) => Ok(admitted),
            Ok(Ok(Err(refusal))) => Err(refusal),
            // Nothing else follows, or the connector has died.
            Ok(_) => Err(Refusal::Overloaded),
            Err(_) => Err(Refusal::Unreachable),
        }
    }
}

/// A target that the connector has connected for a client.
#[derive(Debug)]
pub struct Admitted {
    /// A connected, non-blocking stream socket.
    pub socket: OwnedFd,
    /// Host name or address of the target, which verifies its TLS certificate; `None` for a unix socket.
    pub host: Option<String>,
    /// Terms of the session that are not those of the instance.
    pub terms: SessionTerms,
}

/// The channel to the connector, and the requests that wait for its answer.
#[derive(Debug)]
pub struct Connector {
    channel: Rc<Channel>,
    waiting: Rc<PendingRequests>,
    reader: JoinHandle<()>,
}

type PendingRequests = RefCell<HashMap<ConnectionId, oneshot::Sender<Admission>>>;

impl Connector {
    /// Sends requests over `channel`, and starts the task that reads its answers.
    #[must_use]
    pub fn new(channel: Channel) -> Rc<Self> {
        let (channel, waiting) = (Rc::new(channel), Rc::default());
        let reader = spawn_local(read(Rc::clone(&channel), Rc::clone(&waiting)));
        Rc::new(Self { channel, waiting, reader })
    }

    /// Asks for a target and waits at most `patience` for it.
    ///
    /// # Errors
    ///
    /// The reason of the refusal. If the connector dies before it answers, that is [`Refusal::Overloaded`]: a
    /// client that tries again finds the next connector.
    pub async fn admit(
        self: &Rc<Self>,
        request: AdmissionRequest,
        patience: Duration,
    ) -> Result<Target, Refusal> {
        let id = request.ticket.claims.connection;
        match self.ask(id, GatewayToConnector::Admit(request), patience).await? {
            Granted::Target(admitted) => Ok(Target::Now(admitted)),
            Granted::Later(answer) => Ok(Target::Later(PendingTarget { answer, _connector: self.clone() })),
            Granted::Page => Err(Refusal::Overloaded),
        }
    }

    /// Asks whether the client may have a page.
    ///
    /// # Errors
    ///
    /// The same as those of [`Self::admit`].
    pub async fn may_browse(&self, request: AdmissionRequest, patience: Duration) -> Result<(), Refusal> {
        let id = request.ticket.claims.connection;
        self.ask(id, GatewayToConnector::Browse(request), patience).await.map(drop)
    }

    async fn ask(&self, id: ConnectionId, question: GatewayToConnector, patience: Duration) -> Admission {
        let (sender, answer) = oneshot::channel();
        self.waiting.borrow_mut().insert(id, sender);
        let answered = timeout(patience, async {
            self.channel.send(&question).await.ok()?;
            answer.await.ok()
        });
        let refusal = match answered.await {
            Ok(Some(answer)) => return answer,
            Ok(None) => Refusal::Overloaded,
            Err(_) => Refusal::Unreachable,
        };
        self.waiting.borrow_mut().remove(&id);
        Err(refusal)
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Passes each answer to the request that waits for it. When the connector is gone, all waiting requests are
/// dropped.
async fn read(channel: Rc<Channel>, waiting: Rc<PendingRequests>) {
    loop {
        let (id, answer) = match channel.receive_or_lose().await {
            Ok(Received::Message(ConnectorToGateway::Connected { id, target, host, terms })) => {
                (id, Ok(Granted::Target(Admitted { socket: target, host, terms })))
            }
            Ok(Received::Message(ConnectorToGateway::Granted(id))) => (id, Ok(Granted::Page)),
            Ok(Received::Message(ConnectorToGateway::Waiting(id))) => {
                let (sender, later) = oneshot::channel();
                // The next answer comes by the new channel. A request that has timed out gets neither.
                if let Some(first) = waiting.borrow_mut().insert(id, sender) {
                    let _ = first.send(Ok(Granted::Later(later)));
                }
                continue;
            }
            Ok(Received::Message(ConnectorToGateway::Refused { id, refusal })) => (id, Err(refusal)),
            Ok(Received::DescriptorLost { id, .. }) => (id, Err(Refusal::Overloaded)),
            Err(_) => break,
        };
        if let Some(sender) = waiting.borrow_mut().remove(&id) {
            // Fails if the request has timed out. The answer is dropped then, which closes its target.
            let _ = sender.send(answer);
        }
    }
    waiting.borrow_mut().clear();
}
