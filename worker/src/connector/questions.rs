//! Questions to the supervisor about what it counts over all connectors, reloads and upgrades.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use common::ipc::ConnectionId;
use common::ipc::channel::Channel;
use common::ipc::connector::ConnectorToSupervisor;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Time after which a question is repeated, as an upgrade may have come between it and its answer. The supervisor gives
/// a connection the same answer again.
const PATIENCE: Duration = Duration::from_secs(1);

/// Number of times that a question is asked.
const ATTEMPTS: u32 = 3;

/// Questions of one kind that wait for their answers, one for each connection.
pub(super) struct Questions<A> {
    supervisor: Rc<Channel>,
    waiting: RefCell<HashMap<ConnectionId, oneshot::Sender<A>>>,
}

impl<A> Questions<A> {
    /// Creates it without questions.
    pub(super) fn new(supervisor: Rc<Channel>) -> Self {
        Self { supervisor, waiting: RefCell::default() }
    }

    /// Passes an answer to the task that waits for it, if there is one.
    pub(super) fn take(&self, id: ConnectionId, answer: A) {
        if let Some(sender) = self.waiting.borrow_mut().remove(&id) {
            // Fails if the task has just given up.
            let _ = sender.send(answer);
        }
    }

    /// Asks a question about a connection; `None` if the supervisor does not answer.
    pub(super) async fn ask(&self, id: ConnectionId, question: &ConnectorToSupervisor) -> Option<A> {
        for _ in 0..ATTEMPTS {
            let (sender, answer) = oneshot::channel();
            self.waiting.borrow_mut().insert(id, sender);
            self.supervisor.send(question).await.ok()?;
            if let Ok(answer) = timeout(PATIENCE, answer).await {
                return answer.ok();
            }
        }
        self.waiting.borrow_mut().remove(&id);
        None
    }
}
