//! Pages requested from the supervisor, and the clients that wait for them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use common::ipc::channel::Channel;
use common::ipc::exporter::{ExporterToSupervisor, Page};
use common::sys::memory_file;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::role;

/// Time limit for an answer of the supervisor, which in turn gives each of its gateways a second.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// The answer of the supervisor.
#[derive(Debug)]
pub(super) struct PageAnswer {
    /// For pages about health: the answer is yes.
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

    /// Passes a page to the client that waits for it.
    ///
    /// # Errors
    ///
    /// Fails if no page was requested, or if it can't be read.
    pub(super) fn answer(&self, is_well: bool, text: OwnedFd) -> io::Result<()> {
        let asked = self.waiting.borrow_mut().pop_front();
        let asked = asked.ok_or_else(|| role::unexpected("an answer without a question"))?;
        // Fails if the client has given up.
        let _ = asked.send(PageAnswer { is_well, text: memory_file::content(text)? });
        Ok(())
    }
}
