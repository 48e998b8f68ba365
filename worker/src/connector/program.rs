//! Connects to the wrapped program, or to targets that a program is started for. Clients that connect before
//! the program listens wait for it.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use common::ipc::wrapper::ProgramState;
use rustix::io::Errno;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::dial::{self, DialError};

/// Time for which, after a refused connection, the end of the program is awaited. The previous client may
/// have ended the program, which is about to be restarted.
const GRACE: Duration = Duration::from_secs(1);

/// Interval at which a target is tried while its program is being started.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Progress of a program's start, as reported by the supervisor.
#[derive(Debug)]
pub(super) struct Startup {
    patience: Duration,
    state: watch::Sender<ProgramState>,
}

impl Startup {
    /// Creates the state of a program that is being started. Clients wait for it at most `patience`.
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, state: watch::Sender::default() }
    }

    /// Time for which clients wait for the program to listen.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Sets the current state.
    pub(super) fn take(&self, state: ProgramState) {
        self.state.send_replace(state);
    }

    /// Dials, and retries while no process listens and the program is being started.
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

/// The wrapped program, whose port has been moved.
#[derive(Debug)]
pub(super) struct WrappedProgram {
    port: u16,
    startup: Startup,
}

impl WrappedProgram {
    /// Creates the state of a program that is being started. Clients wait for it at most `patience`.
    pub(super) fn new(port: u16, patience: Duration) -> Self {
        Self { port, startup: Startup::new(patience) }
    }

    /// Time for which clients wait for the program to listen.
    pub(super) fn patience(&self) -> Duration {
        self.startup.patience
    }

    /// Sets the current state.
    pub(super) fn take(&self, state: ProgramState) {
        self.startup.take(state);
    }

    /// Connects to the program once it listens. `connect` is the time limit from then on.
    pub(super) async fn dial(&self, connect: Duration) -> Result<OwnedFd, DialError> {
        let mut states = self.startup.state.subscribe();
        let deadline = Instant::now() + self.startup.patience;
        loop {
            let state = *states.borrow_and_update();
            let until = match state {
                ProgramState::Starting => deadline,
                ProgramState::Away => return Err(refused()),
                ProgramState::Listening(address) => {
                    match dial::connect_first(&[address], Instant::now() + connect, None).await {
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
