//! Finding roles that hang: stopped, or in an endless loop.
//!
//! A role that has connections to serve is pinged now and then. Without a connection no role is pinged, and none wakes
//! up for it.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use common::ipc::channel::Channel;
use common::ipc::table::Message;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::state::service::ServiceState;

/// How often each role is pinged.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long a role may take to answer. It is counted in steps, so that when the whole service was stopped for a
/// while, with all its processes, they have time to answer before we count on.
const STEP: Duration = Duration::from_secs(1);
const STEPS: u32 = 5;

/// Pause before a ping is sent again that found no room in the channel.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// When a role is pinged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// While there are connections.
    Connections,
    /// All the time: it is woken up by others anyway.
    Always,
}

/// Whether a role has answered.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    heard: Cell<bool>,
    changed: Notify,
}

impl Pulse {
    /// The role has answered.
    pub(crate) fn heard(&self) {
        self.heard.set(true);
        self.changed.notify_one();
    }

    /// Sends `ping` and waits for the answer. Never ends if the role has: its keeper learns that sooner.
    pub(crate) async fn ping<M: Message>(&self, channel: &Channel, ping: &M) {
        self.heard.set(false);
        while matches!(channel.try_send(ping), Ok(false)) {
            sleep(RETRY_PAUSE).await;
        }
        while !self.heard.get() {
            self.changed.notified().await;
        }
    }
}

/// Waits until `ping`, which ends with an answer, takes too long.
pub(super) async fn until_silent<F: AsyncFn()>(state: &ServiceState, watch: Watch, ping: F) {
    let is_watched = || watch == Watch::Always || !state.connections.borrow().is_empty();
    loop {
        state.wait_until(is_watched).await;
        sleep(INTERVAL).await;
        if is_watched() && is_silent(ping()).await {
            return;
        }
    }
}

/// Whether `answer` takes too long.
async fn is_silent(answer: impl Future<Output = ()>) -> bool {
    let mut answer = pin!(answer);
    for _ in 0..STEPS {
        if timeout(STEP, &mut answer).await.is_ok() {
            return false;
        }
    }
    true
}
