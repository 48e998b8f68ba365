//! Pages requested from the supervisor, and the clients that wait for them.

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

/// Time limit for an answer of the supervisor, which in turn gives each of its gateways a second.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// The answer of the supervisor.
#[derive(Debug)]
pub(super) struct PageAnswer {
    /// For the health page: clients can be served.
    pub(super) is_well: bool,
    /// The text of the page.
    pub(super) text: Vec<u8>,
}

/// Outstanding requests, oldest first.
#[derive(Debug)]
pub(super) struct Questions {
    supervisor: Rc<Channel>,
    waiting: RefCell<VecDeque<oneshot::Sender<PageAnswer>>>,
}

impl Questions {
    /// Creates the state without requests.
    pub(super) fn new(supervisor: Rc<Channel>) -> Self {
        Self { supervisor, waiting: RefCell::default() }
    }

    /// Requests a page and waits for it. Returns `None` if it does not arrive in time.
    pub(super) async fn ask(&self, page: Page) -> Option<PageAnswer> {
        // Requests whose clients have given up are still outstanding.
        if self.waiting.borrow().len() >= Page::MAX_WANTED {
            return None;
        }
        // The channel is full: the supervisor is not answering.
        if !self.supervisor.try_send(&ExporterToSupervisor::Wanted(page)).ok()? {
            return None;
        }
        let (sender, answer) = oneshot::channel();
        self.waiting.borrow_mut().push_back(sender);
        timeout(ANSWER_DEADLINE, answer).await.ok()?.ok()
    }

    /// Passes pages to the clients that wait for them, until the channel is closed.
    pub(super) async fn keep_answering(&self) -> io::Result<()> {
        loop {
            match self.supervisor.receive().await {
                Ok(SupervisorToExporter::Page { is_well, text }) => {
                    let asked = self.waiting.borrow_mut().pop_front();
                    let asked = asked.ok_or_else(|| role::unexpected("an answer without a question"))?;
                    // Fails if the client has given up.
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
