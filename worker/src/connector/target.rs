//! What a session is connected to.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

use common::addr::TargetAddr;

use super::program::Program;

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
    },
    /// The wrapped program.
    Program(Rc<Program>),
}

impl Target {
    /// The host, if it has one, by which it is known in TLS.
    pub(super) fn host(&self) -> Option<&str> {
        match self {
            Self::Address(TargetAddr::Tcp { host, .. }) => Some(host),
            Self::Program(_) => Some("localhost"),
            Self::Address(TargetAddr::Unix(_)) | Self::Socket { .. } => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Program(program) => program.fmt(f),
            Self::Socket { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}
