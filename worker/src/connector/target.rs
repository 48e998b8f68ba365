//! What a session is connected to.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use common::addr::TargetAddr;
use common::ipc::setup::ConnectorSetup;
use tokio::time::Instant;

use super::dial::{self, DialError};
use super::program::WrappedProgram;
use super::turns::Turn;

/// A target that policy gives to a client.
#[derive(Debug)]
pub(super) enum Target {
    /// Named by an address.
    Address(TargetAddr),
    /// A unix socket that was found, and so can't be another one by the time that it is dialled.
    Socket {
        /// The socket's file, opened with `O_PATH`.
        file: OwnedFd,
        /// Where it was found, for humans.
        path: PathBuf,
        /// The directory of sockets: what follows it in the path is the client's token.
        directory: PathBuf,
    },
    /// The wrapped program.
    Program(Rc<WrappedProgram>),
}

impl Target {
    /// Connects to it: to the first of its addresses that answers. What goes on behind a dial that is given up keeps
    /// its `turn`.
    pub(super) async fn dial(
        &self,
        setup: &ConnectorSetup,
        deadline: Instant,
        turn: Rc<Turn>,
    ) -> Result<OwnedFd, DialError> {
        match self {
            // proc(5): whatever is done to the path where it was found, this leads to the very same socket.
            Self::Socket { file, .. } => {
                let found = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
                dial::connect_to(&TargetAddr::Unix(found), setup.prefer_ipv6, deadline, turn).await
            }
            Self::Program(program) => program.dial(setup.timeouts.connect).await,
            Self::Address(address) => dial::connect_to(address, setup.prefer_ipv6, deadline, turn).await,
        }
    }

    /// What the log may say of it. Where in its directory a socket is, is the token of a client.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Socket { directory, .. } => format!("unix:{}/…", directory.display()),
            target => target.to_string(),
        }
    }

    /// The host, if it has one, by which it is known in TLS.
    pub(super) fn host(&self) -> Option<&str> {
        match self {
            Self::Address(TargetAddr::Tcp { host, .. }) => Some(host),
            Self::Program(_) => Some("localhost"),
            Self::Address(TargetAddr::Unix(_)) | Self::Socket { .. } => None,
        }
    }
}

/// In full, for plugins that decide upon it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Program(program) => program.fmt(f),
            Self::Socket { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}
