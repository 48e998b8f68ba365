//! Detection of roles that hang, because they are stopped or in an endless loop.
//!
//! A role with connections is pinged at intervals. Without connections no role is pinged, so that none is
//! woken up.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use common::ipc::channel::Channel;
use common::ipc::table::Message;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::state::service::ServiceState;

/// Interval of pings.
const INTERVAL: Duration = Duration::from_secs(5);

/// Time limit for an answer, counted in steps: after the whole service was stopped for a while, all roles
/// have the rest of their steps to answer.
const STEP: Duration = Duration::from_secs(1);
const STEPS: u32 = 5;

/// Pause before a ping is sent again if the channel was full.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// When to ping a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// While there are connections.
    Connections,
    /// Always, as other events wake the role anyway.
    Always,
}

/// Whether a role has answered its ping.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    heard: Cell<bool>,
    changed: Notify,
}

impl Pulse {
    /// Notes an answer.
    pub(crate) fn heard(&self) {
        self.heard.set(true);
        self.changed.notify_one();
    }

    /// Sends `ping` and waits for the answer. Never returns if the role has ended, which its keeper notices
    /// sooner.
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

/// Returns when a `ping`, which completes with its answer, takes too long.
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
