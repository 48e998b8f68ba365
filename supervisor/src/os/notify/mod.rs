//! What the service manager is told (sd_notify(3)). Without one nothing is sent.

mod queue;

use std::cell::RefCell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::Notify;
use tokio::time::sleep;

use queue::Queue;

/// Pause before what found no room is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How often that is tried by a program that is about to end.
const LAST_RETRIES: u32 = 20;

thread_local! {
    static MANAGER: RefCell<Manager> = RefCell::default();

    /// Something waits for room.
    static WAITS: Rc<Notify> = Rc::default();
}

/// The way to the service manager.
#[derive(Debug, Default)]
enum Manager {
    /// Not looked for yet.
    #[default]
    Unknown,
    /// There is none.
    Absent,
    /// Here.
    There(Queue),
}

/// Does something with what waits, and sends what there is room for. Says whether nothing waits any more.
fn with_queue(act: impl FnOnce(&mut Queue)) -> bool {
    MANAGER.with_borrow_mut(|manager| {
        if let Manager::Unknown = manager {
            *manager = match Queue::open() {
                Ok(queue) => queue.map_or(Manager::Absent, Manager::There),
                Err(error) => {
                    complain(&error);
                    Manager::Absent
                }
            };
        }
        let Manager::There(queue) = manager else { return true };
        act(queue);
        queue.flush().unwrap_or_else(|error| {
            complain(&error);
            false
        })
    })
}

fn complain(error: &std::io::Error) {
    tracing::warn!("cannot notify the service manager: {error}");
}

/// Tells what must get there.
fn tell(state: &[NotifyState<'_>]) {
    let lines: Vec<_> = state.iter().map(ToString::to_string).collect();
    if !with_queue(|queue| queue.push(lines.join("\n"))) {
        WAITS.with(|waits| waits.notify_one());
    }
}

/// Replaces the status line; an earlier one that has not been sent is dropped.
pub(crate) fn status(status: &str) {
    if !with_queue(|queue| queue.set_status(NotifyState::Status(status).to_string())) {
        WAITS.with(|waits| waits.notify_one());
    }
}

/// Sends what waits as soon as there is room.
pub(crate) async fn keep_telling() {
    let waits = WAITS.with(Rc::clone);
    loop {
        waits.notified().await;
        while !with_queue(|_| {}) {
            sleep(RETRY_PAUSE).await;
        }
    }
}

/// Gives what waits a last second, as this program is about to end.
pub(crate) fn tell_last() {
    for _ in 0..LAST_RETRIES {
        if with_queue(|_| {}) {
            return;
        }
        thread::sleep(RETRY_PAUSE);
    }
}

/// Clients can be served.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The service can't go on. `systemctl status` shows the reason even between two attempts, when it shows no
/// lines of the log.
pub(crate) fn failed(reason: &dyn std::fmt::Display) {
    let reason = reason.to_string();
    tell(&[NotifyState::Status(reason.lines().next().unwrap_or_default())]);
    tell_last();
}

/// Feeds the watchdog once.
pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The configuration is read again. `Type=notify-reload` wants to know since when.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("no time to tell: {error}"),
    }
}

/// A reload or an upgrade is over; `failure` says why it has changed nothing.
pub(crate) fn reloaded(what: &str, failure: Option<&String>) {
    match failure {
        Some(failure) => {
            let status = format!("{what} failed: {}", failure.replace('\n', "; "));
            tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        }
        None => ready(),
    }
}

/// The end has begun.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("ending sessions")]);
}
