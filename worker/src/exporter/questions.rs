//! What the supervisor is asked, and who waits for its answers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use common::ipc::channel::Channel;
use common::ipc::exporter::{ExporterToSupervisor, Page, SupervisorToExporter};
use common::sys::memory_file;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::role;

/// How long the supervisor may take: it gives each of its gateways a second.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// The answer to a question.
#[derive(Debug)]
pub(super) struct PageAnswer {
    /// All is well with what was asked for.
    pub(super) is_well: bool,
    /// For whoever asked.
    pub(super) text: Vec<u8>,
}

/// Questions on their way, oldest first.
#[derive(Debug)]
pub(super) struct Questions {
    supervisor: Rc<Channel>,
    waiting: RefCell<VecDeque<oneshot::Sender<PageAnswer>>>,
}

impl Questions {
    /// None yet.
    pub(super) fn new(supervisor: Rc<Channel>) -> Self {
        Self { supervisor, waiting: RefCell::default() }
    }

    /// Asks, and waits for the answer; nothing if none comes in time.
    pub(super) async fn ask(&self, page: Page) -> Option<PageAnswer> {
        // Those that were given up have been asked all the same.
        if self.waiting.borrow().len() >= Page::MAX_WANTED {
            return None;
        }
        // A supervisor that has left so much unread does not answer.
        if !self.supervisor.try_send(&ExporterToSupervisor::Wanted(page)).ok()? {
            return None;
        }
        let (sender, answer) = oneshot::channel();
        self.waiting.borrow_mut().push_back(sender);
        timeout(ANSWER_DEADLINE, answer).await.ok()?.ok()
    }

    /// Gives answers to who waits for them, until the supervisor is gone.
    pub(super) async fn keep_answering(&self) -> io::Result<()> {
        loop {
            match self.supervisor.receive().await {
                Ok(SupervisorToExporter::Page { is_well, text }) => {
                    let asked = self.waiting.borrow_mut().pop_front();
                    let asked = asked.ok_or_else(|| role::unexpected("an answer that nobody waits for"))?;
                    // Who has given up meanwhile needs none.
                    let _ = asked.send(PageAnswer { is_well, text: memory_file::content(text)? });
                }
                Ok(SupervisorToExporter::Ping) => {
                    self.supervisor.send(&ExporterToSupervisor::Pong).await.map_err(io::Error::other)?;
                }
                Ok(SupervisorToExporter::Setup(_)) => unreachable!("the channel accepts one setup"),
                Ok(SupervisorToExporter::Listener(_)) => return Err(role::unexpected("a second listener")),
                Err(error) => return role::ended(error),
            }
        }
    }
}
