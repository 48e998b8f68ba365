//! Targets of sessions.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use common::addr::TargetAddr;
use common::ipc::setup::ConnectorSetup;
use common::ipc::sockets::SocketName;
use rustix::io::Errno;
use tokio::time::Instant;

use super::dial::{self, DialError};
use super::program::WrappedProgram;
use super::turns::Turn;

/// The target that the policy has determined for a client.
#[derive(Debug)]
pub(super) enum Target {
    /// A TCP address or the path of a unix socket.
    Address(TargetAddr),
    /// A unix socket that a token file names.
    Listed {
        /// Its path.
        path: PathBuf,
        /// The name by which root may be asked to connect to it, or why root does not.
        name: Result<SocketName, Rc<str>>,
    },
    /// A unix socket that was opened by the lookup, so that another file can't replace it before it is
    /// dialled.
    Socket {
        /// The socket's file, opened with `O_PATH`.
        file: OwnedFd,
        /// Its name in the directory, which is the client's token.
        name: String,
        /// The directory of sockets.
        directory: PathBuf,
    },
    /// A unix socket that root has found in the directory of sockets, where this process may not look.
    Hidden {
        /// Its name in the directory, which is the client's token.
        name: String,
        /// The directory of sockets.
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
            Self::Listed { path, .. } => {
                let address = TargetAddr::Unix(path.clone());
                dial::connect_to(&address, setup.prefer_ipv6, deadline, turn).await
            }
            Self::Hidden { .. } => Err(DialError::Connect(Errno::ACCESS.into())),
            Self::Program(program) => program.dial(setup.timeouts.connect).await,
            Self::Address(address) => dial::connect_to(address, setup.prefer_ipv6, deadline, turn).await,
        }
    }

    /// The target for the log. The location within a directory of sockets is a token and is left out.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Socket { directory, .. } | Self::Hidden { directory, .. } => {
                format!("unix:{}/…", directory.display())
            }
            target => target.to_string(),
        }
    }

    /// The host name that verifies a TLS certificate, if there is one.
    pub(super) fn host(&self) -> Option<&str> {
        match self {
            Self::Address(TargetAddr::Tcp { host, .. }) => Some(host),
            Self::Program(_) => Some("localhost"),
            Self::Address(TargetAddr::Unix(_))
            | Self::Listed { .. }
            | Self::Socket { .. }
            | Self::Hidden { .. } => None,
        }
    }
}

/// Formats the target in full, for plugins that decide about it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Program(program) => program.fmt(f),
            Self::Listed { path, .. } => write!(f, "unix:{}", path.display()),
            Self::Socket { name, directory, .. } | Self::Hidden { name, directory } => {
                write!(f, "unix:{}", directory.join(name).display())
            }
        }
    }
}
