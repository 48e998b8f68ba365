//! Between the supervisor and the wrapper, the process that starts the wrapped program and ends it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::table::messages;

/// The setup of a wrapper, which starts one program once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrapperSetup {
    /// The user to become first; none if the program runs as the supervisor's user.
    pub run_as: Option<ProgramUser>,
    /// The program and its arguments, never empty.
    pub command: Vec<OsString>,
    /// The whole environment of the program.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working directory: the first of these that can be entered.
    pub directories: Vec<PathBuf>,
    /// Soft and hard limit of open files.
    pub open_files: (u64, u64),
    /// Time between SIGTERM and SIGKILL for its processes.
    pub grace: Duration,
}

/// The user of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

messages! {
    /// What a wrapper is told. When its channel is closed it ends the program.
    pub enum SupervisorToWrapper: "supervisor" => "wrapper" {
        /// A `WrapperSetup` as a file in memory.
        SETUP = 1 in Setup then Serving: Setup(file: OwnedFd [fd]),
    }
}

messages! {
    /// What a wrapper says. It runs as the program's user, and so may say what the program likes.
    #[derive(PartialEq, Eq)]
    pub enum WrapperToSupervisor: "wrapper" => "supervisor" {
        /// The program runs, as this process.
        STARTED = 1 in Starting then Serving: Started(pid: i32),
        /// The program can't be started; a human should read why.
        NOT_STARTED = 2 in Starting: NotStarted(reason: String),
        /// The program's first process has ended. Others may be left; when none is, the wrapper ends as well.
        ENDED = 3 in Serving: Ended(end: ProgramEnd),
    }
}

/// How the program's first process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProgramEnd {
    /// With this exit status.
    Exited(u8),
    /// By this signal.
    Killed(u8),
}

impl ProgramEnd {
    /// The exit status that stands for this end; for a signal, the one that a shell uses.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => signal.saturating_add(128),
        }
    }
}

/// Whether sessions can be connected to the wrapped program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProgramState {
    /// It is starting: clients wait.
    #[default]
    Starting,
    /// It listens at this address.
    Listening(SocketAddr),
    /// It is not worth waiting for.
    Away,
}
