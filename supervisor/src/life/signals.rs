//! Signals to the supervisor.

use std::fs::{self, File};
use std::io;
use std::rc::Rc;
use std::sync::OnceLock;

use nix::sys::signal::SigSet;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::state::reload_requests::{Kind, ReloadRequests};
use crate::state::service::ServiceState;

/// Handlers for the signals that end the service.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Installs the handlers.
    pub(crate) fn listen() -> io::Result<Self> {
        ENDS_WITH_TERMINAL.get_or_init(|| !is_ignored(SignalKind::hangup()) && has_terminal());
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal that ends the service, and returns its name.
    pub(crate) async fn stop(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => if terminal_is_closed() {
                    return "SIGHUP, as the terminal is closed";
                }
            }
        }
    }
}

/// Whether the service ends when the terminal closes in which it was started. Under nohup(1), which ignores
/// SIGHUP, it does not.
static ENDS_WITH_TERMINAL: OnceLock<bool> = OnceLock::new();

/// Whether a SIGHUP means that the terminal has closed. The kernel detaches the terminal from all processes
/// of its session before it sends the signal, so that the test also works if a shell passes the signal on.
fn terminal_is_closed() -> bool {
    ENDS_WITH_TERMINAL.get().is_some_and(|ends| *ends) && !has_terminal()
}

/// Whether this process has a controlling terminal (tty(4)).
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether a signal is ignored, according to proc(5).
fn is_ignored(signal: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (signal.as_raw_value() - 1) & 1 != 0
}

/// Handlers for the signals that don't end the service. Once they are installed, these signals no longer end
/// the process.
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

    /// Requests a reload for each SIGHUP that is an order, and an upgrade for each SIGUSR2.
    pub(crate) async fn keep_passing(mut self, state: Rc<ServiceState>) {
        let requests: &ReloadRequests = &state.reload_requests;
        loop {
            tokio::select! {
                Some(()) = self.reload.recv() => if !terminal_is_closed() {
                    _ = requests.ask(Kind::Reload);
                },
                Some(()) = self.upgrade.recv() => drop(requests.ask(Kind::Upgrade)),
                else => return,
            }
        }
    }
}

/// Unblocks the signals that an earlier image has blocked between its last handler and the first one of this
/// image.
pub(crate) fn unblock() {
    // If this fails, the signals stay pending, as if they had not been sent.
    let _ = SigSet::all().thread_unblock();
}
