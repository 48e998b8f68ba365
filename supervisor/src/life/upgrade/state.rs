//! What one image of the supervisor tells the next, which takes its place in the same process.
//!
//! It is written as JSON, so that versions can differ: a newer one adds fields with defaults and is
//! understood by older ones of the same [`VERSION`]; whoever changes the meaning of a field counts that up,
//! and reads what earlier versions have written. Descriptors are named by their numbers, which are the same
//! in both images.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;
use std::{io, process};

use common::addr::ListenAddr;
use common::ipc::exporter::Page;
use common::ipc::stats::{Durations, Stats};
use common::sys::memory_file;
use common::ticket::Key;
use rustix::fd::AsFd;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::roles::wrapper;
use crate::state::connections;

/// Of what is written here.
pub(super) const VERSION: u32 = 1;

/// Longest state that is read: some hundred thousand connections.
const MAX_BYTES: usize = 64 << 20;

/// Everything that the next image needs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) version: u32,
    /// The process that it is meant for. In any other it was inherited by accident.
    pub(super) pid: u32,
    /// The program that has written it, for the log.
    pub(super) program: String,
    /// All descriptors that are named below.
    pub(super) descriptors: Vec<RawFd>,
    pub(super) listeners: Vec<Listener>,
    /// Oldest first. The last is in force.
    pub(super) generations: Vec<Generation>,
    pub(super) connections: connections::Handed,
    /// The numbers of the last generation and of the last gateway.
    pub(super) last: (u32, u32),
    pub(super) violations: u64,
    /// From where relative paths on the command line lead.
    pub(super) folder: PathBuf,
    /// How long the service has run.
    #[serde(default)]
    pub(super) age: Duration,
    /// The control socket, and connections there that wait for the end of the upgrade.
    #[serde(default)]
    pub(super) control: Option<RawFd>,
    #[serde(default)]
    pub(super) waiting: Vec<RawFd>,
    /// What gateways have counted that have ended, and how long it took to reach targets.
    #[serde(default)]
    pub(super) departed: Stats,
    #[serde(default)]
    pub(super) connects: Durations,
    /// What tokens are told apart by in records.
    #[serde(default)]
    pub(super) token_key: Option<Key>,
    /// Who shows metrics.
    #[serde(default)]
    pub(super) exporter: Option<Exporter>,
    /// Children that nobody needs any more.
    #[serde(default)]
    pub(super) others: Vec<i32>,
    /// The wrapped program of the generation in force.
    #[serde(default)]
    pub(super) wrapped: Option<wrapper::Handed>,
}

/// A listening socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listener {
    pub(super) socket: RawFd,
    /// As configured; nothing for one that was passed to us.
    pub(super) address: Option<ListenAddr>,
}

/// The listener for metrics, and who serves it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Exporter {
    pub(super) listener: Listener,
    pub(super) role: Option<Role>,
    /// Questions that were not answered.
    #[serde(default)]
    pub(super) wanted: Vec<Page>,
}

/// The roles of one generation.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Generation {
    pub(super) number: u32,
    pub(super) ticket_key: Key,
    pub(super) ticket_lifetime: Duration,
    pub(super) gateways: Vec<Gateway>,
    pub(super) connector: Option<Role>,
    pub(super) signer: Option<Role>,
    pub(super) echo: Option<Role>,
    /// Whether its sessions go to the wrapped program.
    #[serde(default)]
    pub(super) wraps: bool,
}

/// A gateway.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Gateway {
    pub(super) id: u32,
    pub(super) role: Role,
    pub(super) acknowledgements: RawFd,
    /// Answers that are still to come.
    pub(super) asked: usize,
    #[serde(default)]
    pub(super) stats: Stats,
}

/// A process and the channels to it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Role {
    pub(super) pid: i32,
    pub(super) channel: RawFd,
    pub(super) log: RawFd,
}

/// Copies of descriptors, which are to outlive this image.
#[derive(Debug, Default)]
pub(super) struct Passed(Vec<OwnedFd>);

/// Why a state can't be taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// It can't be read.
    #[error("the state can't be read: {0}")]
    Read(#[from] io::Error),
    /// It is no state of ours.
    #[error("the state can't be understood: {0}")]
    Form(#[from] serde_json::Error),
    /// It comes from a later version.
    #[error("the state has form {0}, and this version knows forms up to {VERSION}; install a later one")]
    Version(u32),
    /// The environment variable was inherited.
    #[error("the state belongs to process {0}")]
    Elsewhere(u32),
}

impl Generation {
    /// The processes of its roles.
    pub(super) fn pids(&self) -> Vec<i32> {
        let beside = [&self.connector, &self.signer, &self.echo];
        let gateways = self.gateways.iter().map(|gateway| &gateway.role);
        beside.into_iter().flatten().chain(gateways).map(|role| role.pid).collect()
    }
}

impl State {
    /// Writes it into a file in memory.
    pub(super) fn write(&self) -> Result<OwnedFd, StateError> {
        let text = Zeroizing::new(serde_json::to_vec(self)?);
        Ok(memory_file::sealed(&text)?)
    }

    /// Reads what [`Self::write`] has written, in this version or an earlier one.
    pub(super) fn read(file: OwnedFd) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Form {
            version: u32,
        }
        let text = Zeroizing::new(memory_file::content_up_to(file, MAX_BYTES)?);
        let Form { version } = serde_json::from_slice(&text)?;
        if version > VERSION {
            return Err(StateError::Version(version));
        }
        Ok(serde_json::from_slice(&text)?)
    }

    /// Makes sure that it is meant for this process.
    pub(super) fn check_process(&self) -> Result<(), StateError> {
        if self.pid == process::id() { Ok(()) } else { Err(StateError::Elsewhere(self.pid)) }
    }
}

impl Passed {
    /// The number by which the next image knows `fd`.
    pub(super) fn add(&mut self, fd: impl AsFd) -> io::Result<RawFd> {
        let copy = rustix::io::fcntl_dupfd_cloexec(fd, 3)?;
        let number = copy.as_raw_fd();
        self.0.push(copy);
        Ok(number)
    }

    /// All numbers so far.
    pub(super) fn numbers(&self) -> Vec<RawFd> {
        self.0.iter().map(AsRawFd::as_raw_fd).collect()
    }

    /// Lets them outlive this image.
    pub(super) fn keep_on_exec(&self) -> io::Result<()> {
        for fd in &self.0 {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the first version has written it. It must be understood for ever.
    const FIRST: &str = include_str!("state_1.json");

    fn file(text: &str) -> OwnedFd {
        memory_file::sealed(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_first_form_is_understood() {
        let state = State::read(file(FIRST)).unwrap();
        assert_eq!(state.generations.len(), 2);
        assert_eq!(state.generations[1].gateways[0].id, 3);
        assert_eq!(state.listeners.len(), 2);
        assert_eq!(state.last, (2, 3));
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let state = FIRST.replacen('{', "{\"colour\": \"green\",", 1);
        assert!(State::read(file(&state)).is_ok());
    }

    #[test]
    fn a_later_form_and_no_form_are_refused() {
        let later = FIRST.replacen("\"version\": 1", "\"version\": 2", 1);
        assert!(matches!(State::read(file(&later)), Err(StateError::Version(2))));
        for broken in ["", "{}", "[]", &FIRST[..FIRST.len() / 2]] {
            assert!(matches!(State::read(file(broken)), Err(StateError::Form(_))), "{broken}");
        }
    }

    #[test]
    fn a_state_is_for_one_process() {
        let state = State::read(file(FIRST)).unwrap();
        assert!(matches!(state.check_process(), Err(StateError::Elsewhere(4242))));
    }
}
