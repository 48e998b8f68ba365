//! Signals that the supervisor acts upon.

use std::io;
use std::rc::Rc;

use nix::sys::signal::SigSet;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::state::reload_requests::{Kind, ReloadRequests};
use crate::state::service::ServiceState;

/// Handlers that are in place.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the order to stop and names it.
    pub(crate) async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Handlers of what is to be done while the service goes on: none of these signals ends us any more.
#[derive(Debug)]
pub(crate) struct Orders {
    reload: Signal,
    upgrade: Signal,
}

impl Orders {
    /// Installs the handlers.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { reload: signal(SignalKind::hangup())?, upgrade: signal(SignalKind::user_defined2())? })
    }

    /// Reloads at each SIGHUP, upgrades at each SIGUSR2.
    pub(crate) async fn keep_passing(mut self, state: Rc<ServiceState>) {
        let requests: &ReloadRequests = &state.reload_requests;
        loop {
            tokio::select! {
                Some(()) = self.reload.recv() => drop(requests.ask(Kind::Reload)),
                Some(()) = self.upgrade.recv() => drop(requests.ask(Kind::Upgrade)),
                else => return,
            }
        }
    }
}

/// Lets signals in that an earlier image has held back, since it had no handlers any more and this one none
/// yet.
pub(crate) fn unblock() {
    // What can't be let in waits for ever, as if nobody had sent it.
    let _ = SigSet::all().thread_unblock();
}
