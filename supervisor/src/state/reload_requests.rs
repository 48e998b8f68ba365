//! Requests to reload the configuration or to upgrade the program, and what has become of them.
//!
//! Signals, the control socket and an upgrade ask here; the loop that reloads takes the requests. Requests that come
//! while a reload is under way are served by one more.

use std::cell::Cell;

use tokio::sync::{Notify, watch};

/// The number of the generation in force, or why it is still the one before, for humans.
pub(crate) type Outcome = Result<u32, String>;

/// What a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// To read the configuration again.
    #[default]
    Reload,
    /// The reload with which a version that has taken another's place completes the upgrade.
    AfterUpgrade,
    /// To let the installed version of the program take this one's place.
    Upgrade,
}

impl Kind {
    /// The noun for log lines.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::AfterUpgrade | Self::Upgrade => "upgrade",
        }
    }
}

/// Requests, and the outcome of the last.
#[derive(Debug)]
pub(crate) struct ReloadRequests {
    asked: Cell<u64>,
    /// The most that was asked for since the last was taken.
    kind: Cell<Kind>,
    more: Notify,
    /// How many requests are done, and how the last has ended.
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
    /// Asks; gives the number by which [`Self::outcome`] knows the request.
    pub(crate) fn ask(&self, kind: Kind) -> u64 {
        self.kind.set(self.kind.get().max(kind));
        self.asked.set(self.asked.get() + 1);
        self.more.notify_one();
        self.asked.get()
    }

    /// Waits for requests, and takes all that there are as one: its kind, and the number of the last.
    pub(crate) async fn next(&self) -> (Kind, u64) {
        self.more.notified().await;
        (self.kind.take(), self.asked.get())
    }

    /// The requests up to number `asked` are done. `now` is in seconds since 1970.
    pub(crate) fn finish(&self, asked: u64, outcome: Outcome, now: u64) {
        if outcome.is_ok() {
            self.last_success.set(Some(now));
        }
        drop(self.done.send_replace((asked, outcome)));
    }

    /// Waits for the end of what was asked for.
    pub(crate) async fn outcome(&self, asked: u64) -> Outcome {
        let mut done = self.done.subscribe();
        match done.wait_for(|(number, _)| *number >= asked).await {
            Ok(done) => done.1.clone(),
            // The sender lives as long as this.
            Err(_) => Err("the service has ended".into()),
        }
    }

    /// Why the last one has changed nothing, if so.
    pub(crate) fn last_failure(&self) -> Option<String> {
        self.done.borrow().1.as_ref().err().cloned()
    }

    /// When one has last succeeded, in seconds since 1970.
    pub(crate) fn last_success(&self) -> Option<u64> {
        self.last_success.get()
    }
}
