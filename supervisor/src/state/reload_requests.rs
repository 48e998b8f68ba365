//! Requests to reload the configuration or to upgrade the program, and their outcome.
//!
//! Signals, the control socket and upgrades make requests; the reload loop takes them. Requests that arrive during a
//! reload are served by one more reload.

use std::cell::Cell;

use tokio::sync::{Notify, watch};

/// The number of the generation in force, or the reason of the failure for humans.
pub(crate) type Outcome = Result<u32, String>;

/// The kind of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Reads the configuration again.
    #[default]
    Reload,
    /// Completes an upgrade: the reload by which the new version starts roles of its own.
    AfterUpgrade,
    /// Replaces the running program by the installed version.
    Upgrade,
}

impl Kind {
    /// The noun in log lines.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::AfterUpgrade | Self::Upgrade => "upgrade",
        }
    }
}

/// Pending requests and the outcome of the last one.
#[derive(Debug)]
pub(crate) struct ReloadRequests {
    asked: Cell<u64>,
    /// The most far-reaching request since the last one was taken.
    kind: Cell<Kind>,
    more: Notify,
    /// The number of completed requests, and the last outcome.
    done: watch::Sender<(u64, Outcome)>,
    last_success: Cell<Option<u64>>,
}

impl Default for ReloadRequests {
    fn default() -> Self {
        Self {
            asked: Cell::default(),
            kind: Cell::default(),
            more: Notify::default(),
            done: watch::Sender::new((0, Ok(1))),
            last_success: Cell::default(),
        }
    }
}

impl ReloadRequests {
    /// Adds a request; returns its number for [`Self::outcome`].
    pub(crate) fn ask(&self, kind: Kind) -> u64 {
        self.kind.set(self.kind.get().max(kind));
        self.asked.set(self.asked.get() + 1);
        self.more.notify_one();
        self.asked.get()
    }

    /// Waits for requests and takes all that are pending as one: the kind, and the number of the last.
    pub(crate) async fn next(&self) -> (Kind, u64) {
        self.more.notified().await;
        (self.kind.take(), self.asked.get())
    }

    /// Completes the requests up to number `asked`. `now` is in seconds since 1970.
    pub(crate) fn finish(&self, asked: u64, outcome: Outcome, now: u64) {
        if outcome.is_ok() {
            self.last_success.set(Some(now));
        }
        drop(self.done.send_replace((asked, outcome)));
    }

    /// Waits for the outcome of request `asked`.
    pub(crate) async fn outcome(&self, asked: u64) -> Outcome {
        let mut done = self.done.subscribe();
        match done.wait_for(|(number, _)| *number >= asked).await {
            Ok(done) => done.1.clone(),
            // The sender lives as long as `self`.
            Err(_) => Err("the service has ended".into()),
        }
    }

    /// The reason why the last request has failed, if it has.
    pub(crate) fn last_failure(&self) -> Option<String> {
        self.done.borrow().1.as_ref().err().cloned()
    }

    /// Time of the last successful request, in seconds since 1970.
    pub(crate) fn last_success(&self) -> Option<u64> {
        self.last_success.get()
    }
}
