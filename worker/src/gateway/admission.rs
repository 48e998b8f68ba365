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

/// The connected target, or `None` where the client asked for a page and may have it.
type Admission = Result<Option<Admitted>, Refusal>;

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
    pub async fn admit(&self, request: AdmissionRequest, patience: Duration) -> Result<Admitted, Refusal> {
        let id = request.ticket.claims.connection;
        match self.ask(id, GatewayToConnector::Admit(request), patience).await? {
            Some(admitted) => Ok(admitted),
            None => Err(Refusal::Overloaded),
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
        let answered = answered.await;
        self.waiting.borrow_mut().remove(&id);
        match answered {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(Refusal::Overloaded),
            Err(_) => Err(Refusal::Unreachable),
        }
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
                (id, Ok(Some(Admitted { socket: target, host, terms })))
            }
            Ok(Received::Message(ConnectorToGateway::Granted(id))) => (id, Ok(None)),
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
