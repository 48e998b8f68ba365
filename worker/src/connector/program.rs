//! Connecting to the wrapped program: clients that come before it listens wait for it.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use common::ipc::wrapper::ProgramState;
use rustix::io::Errno;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::dial::{self, DialError};

/// How long after a refused connection the program's end is awaited: the client before this one may have ended the
/// program, which is then about to be restarted.
const GRACE: Duration = Duration::from_secs(1);

/// The state of the wrapped program, as far as the supervisor has told.
#[derive(Debug)]
pub(super) struct WrappedProgram {
    port: u16,
    patience: Duration,
    state: watch::Sender<ProgramState>,
}

impl WrappedProgram {
    /// A program that is being started. Clients wait for it no longer than `patience`.
    pub(super) fn new(port: u16, patience: Duration) -> Self {
        Self { port, patience, state: watch::Sender::default() }
    }

    /// Sets the current state.
    pub(super) fn take(&self, state: ProgramState) {
        self.state.send_replace(state);
    }

    /// Connects to the program once it listens; `connect` is the deadline from then on.
    pub(super) async fn dial(&self, connect: Duration) -> Result<OwnedFd, DialError> {
        let mut states = self.state.subscribe();
        let deadline = Instant::now() + self.patience;
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
