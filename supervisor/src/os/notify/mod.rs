//! Notifications to the service manager (sd_notify(3)). Without one nothing is sent.

mod queue;

use std::cell::RefCell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::Notify;
use tokio::time::sleep;

use queue::Queue;

/// Pause before a notification that found no room is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Maximum number of such retries in a program that is about to end.
const LAST_RETRIES: u32 = 20;

thread_local! {
    static MANAGER: RefCell<Manager> = RefCell::default();

    /// Notified when something waits for room.
    static WAITS: Rc<Notify> = Rc::default();
}

/// The connection to the service manager.
#[derive(Debug, Default)]
enum Manager {
    /// Not looked for yet.
    #[default]
    Unknown,
    /// There is no service manager.
    Absent,
    /// The queue of notifications.
    There(Queue),
}

/// Changes the queue, and sends as much as there is room for. Returns whether the queue is empty.
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

/// Sends a notification that must not be lost.
fn tell(state: &[NotifyState<'_>]) {
    let lines: Vec<_> = state.iter().map(ToString::to_string).collect();
    if !with_queue(|queue| queue.push(lines.join("\n"))) {
        WAITS.with(|waits| waits.notify_one());
    }
}

/// Replaces the status line. An earlier one that has not been sent is dropped.
pub(crate) fn status(status: &str) {
    if !with_queue(|queue| queue.set_status(NotifyState::Status(status).to_string())) {
        WAITS.with(|waits| waits.notify_one());
    }
}

/// Sends pending notifications as soon as there is room.
pub(crate) async fn keep_telling() {
    let waits = WAITS.with(Rc::clone);
    loop {
        waits.notified().await;
        while !with_queue(|_| {}) {
            sleep(RETRY_PAUSE).await;
        }
    }
}

/// Sends pending notifications of a program that is about to end, for at most a second.
pub(crate) fn tell_last() {
    for _ in 0..LAST_RETRIES {
        if with_queue(|_| {}) {
            return;
        }
        thread::sleep(RETRY_PAUSE);
    }
}

/// Reports that clients can be served.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Reports that the service can't continue. `systemctl status` shows this reason even between restarts, when
/// it shows no log lines.
pub(crate) fn failed(reason: &dyn std::fmt::Display) {
    let reason = reason.to_string();
    tell(&[NotifyState::Status(reason.lines().next().unwrap_or_default())]);
    tell_last();
}

/// Notifies the watchdog once.
pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// Reports the beginning of a reload. `Type=notify-reload` needs its time.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("cannot read the clock: {error}"),
    }
}

/// Reports the end of a reload or an upgrade. `failure` is the reason if it has failed.
pub(crate) fn reloaded(what: &str, failure: Option<&String>) {
    match failure {
        Some(failure) => {
            let status = format!("{what} failed: {}", failure.replace('\n', "; "));
            tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        }
        None => ready(),
    }
}

/// Interval at which the time limit of a stop is extended.
const EXTENSION_INTERVAL: Duration = Duration::from_secs(10);

/// The time limit that is set each time, in microseconds.
const EXTENSION_USEC: u32 = 30_000_000;

/// Extends the time limit of a stop again and again, so that `TimeoutStopSec=` (systemd.service(5)) does not end it.
pub(crate) async fn keep_extending_stop() {
    loop {
        tell(&[NotifyState::ExtendTimeoutUsec(EXTENSION_USEC)]);
        sleep(EXTENSION_INTERVAL).await;
    }
}

/// Reports that the service is stopping.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("ending sessions")]);
}
