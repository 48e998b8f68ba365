//! Messages between the supervisor and the wrapper, the process that starts and ends the wrapped program.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::table::messages;

/// Setup of a wrapper, which starts one program once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrapperSetup {
    /// User to change to first; `None` if the program runs as the supervisor's user.
    pub run_as: Option<ProgramUser>,
    /// The program and its arguments; never empty.
    pub command: Vec<OsString>,
    /// The complete environment of the program.
    pub environment: Vec<(OsString, OsString)>,
    /// Working directory of the program: the first of these that can be entered.
    pub directories: Vec<PathBuf>,
    /// Soft and hard limit of open files.
    pub open_files: (u64, u64),
    /// Time between SIGTERM and SIGKILL to its processes.
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
    /// Messages of the supervisor to the wrapper. When the channel is closed, the wrapper ends the program.
    pub enum SupervisorToWrapper: "supervisor" => "wrapper" {
        /// The setup, a `WrapperSetup` in a memory file.
        SETUP = 1 in Setup then Serving: Setup(file: OwnedFd [fd]),
    }
}

messages! {
    /// Messages of the wrapper to the supervisor. The wrapper runs as the program's user, so that the program
    /// may control it.
    #[derive(PartialEq, Eq)]
    pub enum WrapperToSupervisor: "wrapper" => "supervisor" {
        /// The program runs, with this process id.
        STARTED = 1 in Starting then Serving: Started(pid: i32),
        /// The program can't be started; the reason is for the administrator.
        NOT_STARTED = 2 in Starting: NotStarted(reason: String),
        /// The first process of the program has ended. Others may be left; the wrapper exits with the last.
        ENDED = 3 in Serving: Ended(end: ProgramEnd),
    }
}

/// How the first process of the program has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProgramEnd {
    /// The program has exited with this status.
    Exited(u8),
    /// The program was killed by this signal.
    Killed(u8),
}

impl ProgramEnd {
    /// The exit status that represents this end; for a signal, that of a shell.
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
    /// The program is starting, and clients wait.
    #[default]
    Starting,
    /// The program listens at this address.
    Listening(SocketAddr),
    /// The program is neither running nor starting. Clients are refused.
    Away,
}
