//! Targets of sessions.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use common::addr::TargetAddr;
use common::ipc::setup::ConnectorSetup;
use common::ipc::sockets::SocketName;
use common::ipc::token_reach::TokenReach;
use rustix::io::Errno;
use tokio::time::Instant;

use super::dial::{self, DialError};
use super::program::WrappedProgram;
use super::reach::Check;
use super::turns::Turn;

/// The target that the policy has determined for a client.
#[derive(Debug)]
pub(super) enum Target {
    /// A TCP address or the path of a unix socket.
    Address(TargetAddr),
    /// A TCP address that a token file names.
    InFile(TargetAddr),
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
    /// ended. `reach` limits where it leads, if it is a token's.
    pub(super) async fn dial(
        &self,
        setup: &ConnectorSetup,
        deadline: Instant,
        turn: Rc<Turn>,
        reach: Option<&TokenReach>,
    ) -> Result<OwnedFd, DialError> {
        let check = reach.map(|reach| Check { reach, is_spelled_out: self.is_spelled_out() });
        let connect =
            async |address: &_| dial::connect_to(address, setup.prefer_ipv6, deadline, turn, check).await;
        match self {
            // proc(5): this path leads to the opened socket, even if the original path has changed.
            Self::Socket { file, .. } => {
                let found = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
                connect(&TargetAddr::Unix(found)).await
            }
            Self::Listed { path, .. } => connect(&TargetAddr::Unix(path.clone())).await,
            Self::Hidden { .. } => Err(DialError::Connect(Errno::ACCESS.into())),
            Self::Program(program) => program.dial(setup.timeouts.connect).await,
            Self::Address(address) | Self::InFile(address) => connect(address).await,
        }
    }

    /// Whether the address itself is written in a token file.
    fn is_spelled_out(&self) -> bool {
        matches!(self, Self::InFile(TargetAddr::Tcp { host, .. }) if host.parse::<IpAddr>().is_ok())
    }

    /// The path of a unix socket, if it is one.
    pub(super) fn unix_path(&self) -> Option<PathBuf> {
        match self {
            Self::Address(TargetAddr::Unix(path)) | Self::Listed { path, .. } => Some(path.clone()),
            Self::Socket { name, directory, .. } | Self::Hidden { name, directory } => {
                Some(directory.join(name))
            }
            Self::Address(TargetAddr::Tcp { .. }) | Self::InFile(_) | Self::Program(_) => None,
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
            Self::Address(TargetAddr::Tcp { host, .. }) | Self::InFile(TargetAddr::Tcp { host, .. }) => {
                Some(host)
            }
            Self::Program(_) => Some("localhost"),
            Self::Address(TargetAddr::Unix(_))
            | Self::InFile(TargetAddr::Unix(_))
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
            Self::Address(address) | Self::InFile(address) => address.fmt(f),
            Self::Program(program) => program.fmt(f),
            Self::Listed { path, .. } => write!(f, "unix:{}", path.display()),
            Self::Socket { name, directory, .. } | Self::Hidden { name, directory } => {
                write!(f, "unix:{}", directory.join(name).display())
            }
        }
    }
}
