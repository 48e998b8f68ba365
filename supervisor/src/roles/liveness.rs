//! Finding out roles that hang: stopped, or in an endless loop.
//!
//! Whoever has connections to serve is asked now and then whether it is there. Without a connection nobody
//! is asked, and nobody wakes up for it.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::time::Duration;

use common::ipc::channel::Channel;
use common::ipc::table::Message;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::run::Service;

/// How often each role is asked while there are connections.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// How long a role may take to answer. It is counted in steps, so that when the whole service was
/// stopped for a while, with all its processes, they have time to answer before we count on.
const STEP: Duration = Duration::from_secs(1);
const STEPS: u32 = 5;

/// Pause before a question is sent again that found no room.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Whether a role has answered.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    heard: Cell<bool>,
    changed: Notify,
    fault: RefCell<Option<String>>,
    broken: Notify,
}

impl Pulse {
    /// The role has answered.
    pub(crate) fn heard(&self) {
        self.heard.set(true);
        self.changed.notify_one();
    }

    /// The role can't be listened to any more.
    pub(crate) fn broken(&self, fault: String) {
        self.fault.replace(Some(fault));
        self.broken.notify_one();
    }

    /// Waits until the role can't be listened to any more, and says why.
    pub(crate) async fn fault(&self) -> String {
        self.broken.notified().await;
        self.fault.take().unwrap_or_default()
    }

    /// Asks, and waits for the answer. Never ends if the role has: its keeper learns that sooner.
    pub(crate) async fn ask<M: Message>(&self, channel: &Channel, question: &M) {
        self.heard.set(false);
        while matches!(channel.try_send(question), Ok(false)) {
            sleep(RETRY_PAUSE).await;
        }
        while !self.heard.get() {
            self.changed.notified().await;
        }
    }
}

/// Waits until `ask`, which ends with an answer, takes too long.
pub(crate) async fn until_silent<F: AsyncFn()>(service: &Service, ask: F) {
    let mut changes = service.changes();
    loop {
        while service.connections.borrow().is_empty() {
            // The sender lives as long as the service.
            let _ = changes.changed().await;
        }
        sleep(INTERVAL).await;
        if service.connections.borrow().is_empty() {
            continue;
        }
        if is_silent(ask()).await {
            return;
        }
    }
}

/// Whether `answer` takes too long.
pub(crate) async fn is_silent(answer: impl Future<Output = ()>) -> bool {
    let mut answer = pin!(answer);
    let mut steps = 0;
    while timeout(STEP, &mut answer).await.is_err() {
        steps += 1;
        if steps == STEPS {
            return true;
        }
    }
    false
}
