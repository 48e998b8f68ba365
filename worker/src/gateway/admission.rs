//! Asking the connector for a target.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use common::ipc::ConnectionId;
use common::ipc::admission::{AdmissionRequest, ConnectorToGateway, GatewayToConnector, Refusal};
use common::ipc::channel::{Channel, Received};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

/// A target if one was asked for.
type Admission = Result<Option<Admitted>, Refusal>;

/// A target that a client may have.
#[derive(Debug)]
pub struct Admitted {
    /// A connected, non-blocking stream socket.
    pub socket: OwnedFd,
    /// Its host, by which it is known in TLS; none for a unix socket.
    pub host: Option<String>,
    /// How long the session may last.
    pub lifetime: Option<Duration>,
}

/// The connector's end of things: who waits for which answer.
#[derive(Debug)]
pub struct Connector {
    channel: Rc<Channel>,
    waiting: Rc<PendingRequests>,
    reader: JoinHandle<()>,
}

type PendingRequests = RefCell<HashMap<ConnectionId, oneshot::Sender<Admission>>>;

impl Connector {
    /// Asks over `channel` from now on.
    #[must_use]
    pub fn new(channel: Channel) -> Rc<Self> {
        let (channel, waiting) = (Rc::new(channel), Rc::default());
        let reader = spawn_local(read(Rc::clone(&channel), Rc::clone(&waiting)));
        Rc::new(Self { channel, waiting, reader })
    }

    /// Asks for a target and waits for it, `patience` at most.
    ///
    /// # Errors
    ///
    /// Why there is none. A connector that dies meanwhile counts as overloaded: the next one will have
    /// time.
    pub async fn admit(&self, request: AdmissionRequest, patience: Duration) -> Result<Admitted, Refusal> {
        let id = request.ticket.claims.connection;
        match self.ask(id, GatewayToConnector::Admit(request), patience).await? {
            Some(admitted) => Ok(admitted),
            None => Err(Refusal::Overloaded),
        }
    }

    /// Asks whether a client may have a page.
    ///
    /// # Errors
    ///
    /// As [`Self::admit`].
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

/// Gives each answer to who waits for it, until the connector is gone; then nobody waits any more.
async fn read(channel: Rc<Channel>, waiting: Rc<PendingRequests>) {
    loop {
        let (id, answer) = match channel.receive_or_lose().await {
            Ok(Received::Message(ConnectorToGateway::Connected { id, target, host, lifetime })) => {
                (id, Ok(Some(Admitted { socket: target, host, lifetime })))
            }
            Ok(Received::Message(ConnectorToGateway::Granted(id))) => (id, Ok(None)),
            Ok(Received::Message(ConnectorToGateway::Refused { id, refusal })) => (id, Err(refusal)),
            Ok(Received::DescriptorLost { id, .. }) => (id, Err(Refusal::Overloaded)),
            Err(_) => break,
        };
        if let Some(sender) = waiting.borrow_mut().remove(&id) {
            // Who has given up meanwhile needs no answer; a target is closed with it.
            let _ = sender.send(answer);
        }
    }
    waiting.borrow_mut().clear();
}
