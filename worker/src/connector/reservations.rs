//! Reserves uses of tokens in the supervisor, which counts them over all connectors, reloads and upgrades.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use common::ipc::ConnectionId;
use common::ipc::channel::Channel;
use common::ipc::connector::ConnectorToSupervisor;
use common::ipc::uses::{Reservation, UseLimits};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Time after which a question is repeated, as an upgrade may have come between it and its answer. The supervisor gives
/// a connection the same answer again.
const PATIENCE: Duration = Duration::from_secs(1);

/// Number of times that a question is asked.
const ATTEMPTS: u32 = 3;

/// Reservations that wait for their answers.
pub(super) struct Reservations {
    supervisor: Rc<Channel>,
    waiting: RefCell<HashMap<ConnectionId, oneshot::Sender<Reservation>>>,
}

impl Reservations {
    /// Creates it without reservations.
    pub(super) fn new(supervisor: Rc<Channel>) -> Self {
        Self { supervisor, waiting: RefCell::default() }
    }

    /// Passes an answer to the task that waits for it, if there is one.
    pub(super) fn take(&self, id: ConnectionId, answer: Reservation) {
        if let Some(sender) = self.waiting.borrow_mut().remove(&id) {
            // Fails if the task has just given up.
            let _ = sender.send(answer);
        }
    }

    /// Reserves a use of the token with this hash for a connection; `None` if the supervisor does not answer.
    pub(super) async fn reserve(
        &self,
        id: ConnectionId,
        token: &str,
        limits: UseLimits,
    ) -> Option<Reservation> {
        for _ in 0..ATTEMPTS {
            let (sender, answer) = oneshot::channel();
            self.waiting.borrow_mut().insert(id, sender);
            let question = ConnectorToSupervisor::Reserve { id, token: token.to_owned(), limits };
            self.supervisor.send(&question).await.ok()?;
            if let Ok(answer) = timeout(PATIENCE, answer).await {
                return answer.ok();
            }
        }
        self.waiting.borrow_mut().remove(&id);
        None
    }

    /// Gives a reservation back, if the connection has one.
    pub(super) async fn release(&self, id: ConnectionId) {
        // If the supervisor is gone, so are its counts.
        let _ = self.supervisor.send(&ConnectorToSupervisor::Release(id)).await;
    }
}
