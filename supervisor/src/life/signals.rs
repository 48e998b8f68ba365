//! Signals to the supervisor.

use std::io;
use std::rc::Rc;

use nix::sys::signal::SigSet;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::state::reload_requests::{Kind, ReloadRequests};
use crate::state::service::ServiceState;

/// Handlers for the signals that end the service.
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

    /// Waits for a signal that ends the service and gives its name.
    pub(crate) async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Handlers for the signals that don't end the service. Once installed, these signals no longer end the process.
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

/// Unblocks the signals that an earlier image has blocked between its last handler and the first of this image.
pub(crate) fn unblock() {
    // If they can't be unblocked they stay pending for ever, as if nobody had sent them.
    let _ = SigSet::all().thread_unblock();
}
