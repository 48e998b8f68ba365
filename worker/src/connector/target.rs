//! Targets of sessions.

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

/// The target that the policy has determined for a client.
#[derive(Debug)]
pub(super) enum Target {
    /// A TCP address or the path of a unix socket.
    Address(TargetAddr),
    /// A unix socket that was opened by the lookup, so that another file can't replace it before it is
    /// dialled.
    Socket {
        /// The socket's file, opened with `O_PATH`.
        file: OwnedFd,
        /// Path of the socket, for messages.
        path: PathBuf,
        /// The directory of sockets. The rest of the path is the client's token.
        directory: PathBuf,
    },
    /// The wrapped program.
    Program(Rc<WrappedProgram>),
}

impl Target {
    /// Connects to the first address that answers. `turn` is held until a dial that was given up has really
    /// ended.
    pub(super) async fn dial(
        &self,
        setup: &ConnectorSetup,
        deadline: Instant,
        turn: Rc<Turn>,
    ) -> Result<OwnedFd, DialError> {
        match self {
            // proc(5): this path leads to the opened socket, even if the original path has changed.
            Self::Socket { file, .. } => {
                let found = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
                dial::connect_to(&TargetAddr::Unix(found), setup.prefer_ipv6, deadline, turn).await
            }
            Self::Program(program) => program.dial(setup.timeouts.connect).await,
            Self::Address(address) => dial::connect_to(address, setup.prefer_ipv6, deadline, turn).await,
        }
    }

    /// The target for the log. The location within a directory of sockets is a token and is left out.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Socket { directory, .. } => format!("unix:{}/…", directory.display()),
            target => target.to_string(),
        }
    }

    /// The host name that verifies a TLS certificate, if there is one.
    pub(super) fn host(&self) -> Option<&str> {
        match self {
            Self::Address(TargetAddr::Tcp { host, .. }) => Some(host),
            Self::Program(_) => Some("localhost"),
            Self::Address(TargetAddr::Unix(_)) | Self::Socket { .. } => None,
        }
    }
}

/// Formats the target in full, for plugins that decide about it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Program(program) => program.fmt(f),
            Self::Socket { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}
