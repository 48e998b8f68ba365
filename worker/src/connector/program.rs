//! Connecting to the wrapped program, or to a target that a program is started for: clients that come before somebody
//! listens there wait for it.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use common::ipc::wrapper::ProgramState;
use rustix::io::Errno;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::dial::{self, DialError};

/// How long after a refused connection the program's end is awaited: the client before this one may have ended the
/// program, which is then about to be restarted.
const GRACE: Duration = Duration::from_secs(1);

/// How often a target is tried that a program is being started for.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The start of a program, as far as the supervisor has told.
#[derive(Debug)]
pub(super) struct Startup {
    patience: Duration,
    state: watch::Sender<ProgramState>,
}

impl Startup {
    /// That of a program which is being started. Clients wait for it no longer than `patience`.
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, state: watch::Sender::default() }
    }

    /// How long clients wait for it to listen.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Sets the current state.
    pub(super) fn take(&self, state: ProgramState) {
        self.state.send_replace(state);
    }

    /// Dials, and does so again where nobody listens as long as the program is being started.
    pub(super) async fn wait_for(
        &self,
        dial: impl AsyncFn() -> Result<OwnedFd, DialError>,
    ) -> Result<OwnedFd, DialError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let is_starting = *self.state.borrow() == ProgramState::Starting;
            match dial().await {
                Err(error) if error.is_absence() && is_starting && Instant::now() < deadline => {}
                other => return other,
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}

/// The wrapped program, which was moved to another port.
#[derive(Debug)]
pub(super) struct WrappedProgram {
    port: u16,
    startup: Startup,
}

impl WrappedProgram {
    /// A program that is being started. Clients wait for it no longer than `patience`.
    pub(super) fn new(port: u16, patience: Duration) -> Self {
        Self { port, startup: Startup::new(patience) }
    }

    /// How long clients wait for it to listen.
    pub(super) fn patience(&self) -> Duration {
        self.startup.patience
    }

    /// Sets the current state.
    pub(super) fn take(&self, state: ProgramState) {
        self.startup.take(state);
    }

    /// Connects to the program once it listens; `connect` is the deadline from then on.
    pub(super) async fn dial(&self, connect: Duration) -> Result<OwnedFd, DialError> {
        let mut states = self.startup.state.subscribe();
        let deadline = Instant::now() + self.startup.patience;
        loop {
            let state = *states.borrow_and_update();
            let until = match state {
                ProgramState::Starting => deadline,
                ProgramState::Away => return Err(refused()),
                ProgramState::Listening(address) => {
                    match dial::connect_first(&[address], Instant::now() + connect).await {
                        Err(error) if error.is_refusal() => deadline.min(Instant::now() + GRACE),
                        other => return other,
                    }
                }
            };
            match timeout_at(until, states.changed()).await {
                Ok(Ok(())) => {}
                _ if state == ProgramState::Starting => return Err(DialError::TimedOut),
                _ => return Err(refused()),
            }
        }
    }
}

impl fmt::Display for WrappedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "localhost:{}", self.port)
    }
}

fn refused() -> DialError {
    DialError::Connect(io::Error::from(Errno::CONNREFUSED))
}
