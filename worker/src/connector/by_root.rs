//! Requests connections to unix sockets from the supervisor, which as root may connect where this process may not.
//!
//! These are exceptions: the connector connects by itself wherever it has the permission.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use common::ipc::ConnectionId;
use common::ipc::channel::Channel;
use common::ipc::connector::ConnectorToSupervisor;
use common::ipc::setup::LOOKUP_DEADLINE;
use common::ipc::sockets::{MAX_SOCKET_QUESTIONS, NoSocket, SocketName};
use rustix::io::Errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::dial::DialError;

/// Pause before a request is repeated, because the target's backlog is full or the supervisor was upgraded.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Requests to the supervisor.
pub(super) struct RootSockets {
    supervisor: Rc<Channel>,
    asked: RefCell<HashMap<ConnectionId, Asked>>,
    room: Arc<Semaphore>,
}

/// A request without an answer yet. The task that waits for it may have ended.
struct Asked {
    answer: oneshot::Sender<Answer>,
    _room: OwnedSemaphorePermit,
}

/// An answer of the supervisor.
pub(super) enum Answer {
    /// The socket exists.
    Found,
    /// Connected to the socket.
    Socket(OwnedFd),
    /// The request has failed.
    Nothing(NoSocket),
}

/// Makes requests for one connection of a client.
#[derive(Clone, Copy)]
pub(super) struct ForConnection<'a> {
    sockets: &'a RootSockets,
    id: ConnectionId,
}

impl RootSockets {
    /// Creates it without requests.
    pub(super) fn new(supervisor: Rc<Channel>) -> Self {
        let room = Arc::new(Semaphore::new(MAX_SOCKET_QUESTIONS));
        Self { supervisor, asked: RefCell::default(), room }
    }

    /// For requests that concern this connection.
    pub(super) fn for_connection(&self, id: ConnectionId) -> ForConnection<'_> {
        ForConnection { sockets: self, id }
    }

    /// Passes an answer to the task that waits for it, if there is one.
    pub(super) fn take(&self, id: ConnectionId, answer: Answer) {
        if let Some(asked) = self.asked.borrow_mut().remove(&id) {
            let _ = asked.answer.send(answer);
        }
    }

    async fn ask(&self, id: ConnectionId, question: &ConnectorToSupervisor) -> Answer {
        let unanswered = || Answer::Nothing(NoSocket::System(Errno::CANCELED.raw_os_error()));
        let Ok(room) = self.room.clone().acquire_owned().await else { return unanswered() };
        if self.supervisor.send(question).await.is_err() {
            return unanswered();
        }
        // Once sent, the request counts until its answer arrives.
        let (sender, answer) = oneshot::channel();
        self.asked.borrow_mut().insert(id, Asked { answer: sender, _room: room });
        answer.await.unwrap_or_else(|_| unanswered())
    }

    /// Repeats a request until there is a final answer.
    async fn ask_on(&self, id: ConnectionId, question: &ConnectorToSupervisor) -> Answer {
        loop {
            match self.ask(id, question).await {
                Answer::Nothing(NoSocket::System(number)) if number == Errno::AGAIN.raw_os_error() => {
                    sleep(RETRY_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }
}

impl ForConnection<'_> {
    /// Checks that a socket exists which this process has no permission to see.
    pub(super) async fn find(self, name: SocketName) -> Result<(), NoSocket> {
        let question = ConnectorToSupervisor::FindSocket { id: self.id, name };
        match timeout(LOOKUP_DEADLINE, self.sockets.ask_on(self.id, &question)).await {
            Ok(Answer::Found) => Ok(()),
            Ok(Answer::Nothing(why)) => Err(why),
            Ok(Answer::Socket(_)) | Err(_) => Err(NoSocket::Refused("the supervisor does not answer".into())),
        }
    }

    /// Requests a connection to a socket.
    pub(super) async fn connect(self, name: SocketName, deadline: Instant) -> Result<OwnedFd, DialError> {
        let question = ConnectorToSupervisor::ConnectSocket { id: self.id, name };
        let answer = timeout_at(deadline, self.sockets.ask_on(self.id, &question)).await;
        match answer.map_err(|_| DialError::TimedOut)? {
            Answer::Socket(socket) => Ok(socket),
            Answer::Nothing(NoSocket::System(number)) => {
                Err(DialError::Connect(io::Error::from_raw_os_error(number)))
            }
            Answer::Nothing(NoSocket::Refused(why)) => Err(DialError::Connect(io::Error::other(why))),
            Answer::Found => Err(DialError::Connect(Errno::CANCELED.into())),
        }
    }
}
