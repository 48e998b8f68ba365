//! The state that one image of the supervisor passes to the next in the same process.
//!
//! It is JSON. Descriptors are given by their numbers, which are the same in both images. After 0.1.0, fields
//! may be added with a default; earlier versions ignore them. A change of a field's meaning, or a new message
//! from a role to the supervisor (`common::ipc::table`), requires an increment of [`VERSION`] and code that
//! reads the states of earlier versions.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;
use std::{io, process};

use common::addr::ListenAddr;
use common::ipc::ConnectionId;
use common::ipc::exporter::{Page, Protocol};
use common::ipc::wire;
use common::json;
use common::sys::memory_file;
use common::ticket::Key;
use rustix::fd::AsFd;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::files::sockets::SocketNames;
use crate::os::socket_file;
use crate::roles::gateway::GatewaySnapshot;
use crate::roles::peer::Peer;
use crate::roles::wrapper::ProgramSnapshot;
use crate::state::connections;
use crate::state::service::ServiceSnapshot;

/// Version of the state.
pub(super) const VERSION: u32 = 1;

/// Maximum size of a state in bytes, enough for some hundred thousand connections.
const MAX_BYTES: usize = 64 << 20;

/// The complete state.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) version: u32,
    /// Version of the messages that the roles use.
    pub(super) messages: u8,
    /// Process id of the process that it is meant for. Any other process has inherited it by accident.
    pub(super) pid: u32,
    /// Version of the program that has written the state, for the log.
    pub(super) program: String,
    /// All descriptors that are referred to below.
    pub(super) descriptors: Vec<RawFd>,
    /// The directory to which relative paths on the command line refer.
    pub(super) directory: PathBuf,
    pub(super) listeners: Vec<Listener>,
    /// Generations, oldest first. The last one is in force.
    pub(super) generations: Vec<Generation>,
    pub(super) connections: connections::Snapshot,
    pub(super) service: ServiceSnapshot,
    /// The control socket.
    pub(super) control: Option<ControlSocket>,
    /// Control connections that wait for the end of the upgrade.
    pub(super) waiting: Vec<RawFd>,
    pub(super) exporter: Option<Exporter>,
    /// The wrapped program of the generation in force.
    pub(super) wrapped: Option<ProgramSnapshot>,
    /// Children that are no longer needed.
    pub(super) others: Vec<i32>,
}

/// A listening socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listener {
    pub(super) socket: RawFd,
    /// The configured address; `None` for a passed socket.
    pub(super) address: Option<ListenAddr>,
    /// The file of a unix socket; `None` for TCP and passed sockets.
    pub(super) file: Option<SocketFile>,
}

/// The control socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ControlSocket {
    pub(super) socket: RawFd,
    pub(super) file: Option<SocketFile>,
}

/// The file of a unix socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SocketFile {
    pub(super) path: PathBuf,
    /// The directory in which it was created.
    pub(super) directory: RawFd,
    pub(super) file: RawFd,
}

/// The listener for metrics and its role.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Exporter {
    pub(super) listeners: Vec<(Protocol, Listener)>,
    pub(super) role: Option<Role>,
    /// Pages that the role has requested and not received.
    pub(super) wanted: Vec<Page>,
}

/// The roles of one generation.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Generation {
    pub(super) number: u32,
    pub(super) ticket_key: Key,
    /// The key of the hashes of tokens.
    pub(super) token_key: Key,
    pub(super) ticket_lifetime: Duration,
    pub(super) gateways: Vec<Gateway>,
    pub(super) connector: Option<Role>,
    /// The sockets that its connector may request.
    pub(super) sockets: SocketNames,
    /// The connections for which it waits for a socket.
    pub(super) unanswered: Vec<ConnectionId>,
    pub(super) signer: Option<Role>,
    pub(super) echo: Option<Role>,
    /// Process ids of plugins.
    pub(super) plugins: Vec<i32>,
    /// Whether its sessions are connected to the wrapped program.
    pub(super) wraps: bool,
}

/// A gateway.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Gateway {
    pub(super) role: Role,
    pub(super) acknowledgements: RawFd,
    pub(super) gateway: GatewaySnapshot,
}

/// A process and the channels to it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Role {
    pub(super) pid: i32,
    pub(super) channel: RawFd,
    pub(super) log: RawFd,
    pub(super) errors: RawFd,
}

/// Copies of descriptors that survive execve(2).
#[derive(Debug, Default)]
pub(super) struct Passed(Vec<OwnedFd>);

/// The reason why a state can't be taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// The state can't be read.
    #[error("the state can't be read: {0}")]
    Read(#[from] io::Error),
    /// The state can't be parsed.
    #[error("the state can't be parsed: {0}")]
    Form(#[from] serde_json::Error),
    /// The state has a later version.
    #[error(
        "the state has format {0}, and this version supports formats up to {VERSION}; install a later version"
    )]
    Version(u32),
    /// The roles use another version of the messages.
    #[error(
        "the running roles use version {0} of the protocol, which this version does not support; restart the service"
    )]
    Messages(u8),
    /// The environment variable was inherited by accident.
    #[error("the state belongs to process {0}")]
    Elsewhere(u32),
}

impl Generation {
    /// Process ids of all roles.
    pub(super) fn pids(&self) -> Vec<i32> {
        let beside = [&self.connector, &self.signer, &self.echo];
        let gateways = self.gateways.iter().map(|gateway| &gateway.role);
        let roles = beside.into_iter().flatten().chain(gateways).map(|role| role.pid);
        roles.chain(self.plugins.iter().copied()).collect()
    }
}

impl State {
    /// Writes the state to a memory file.
    pub(super) fn write(&self) -> Result<OwnedFd, StateError> {
        let text = Zeroizing::new(serde_json::to_vec(self)?);
        Ok(memory_file::sealed(&text)?)
    }

    /// Reads what [`Self::write`] has written.
    pub(super) fn read(file: OwnedFd) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Form {
            version: u32,
            messages: u8,
        }
        let text = Zeroizing::new(memory_file::content_up_to(file, MAX_BYTES)?);
        let Form { version, messages } = json::object(&text)?;
        if version > VERSION {
            return Err(StateError::Version(version));
        }
        if messages != wire::VERSION {
            return Err(StateError::Messages(messages));
        }
        Ok(json::object(&text)?)
    }

    /// Checks that the state is meant for this process.
    pub(super) fn check_process(&self) -> Result<(), StateError> {
        if self.pid == process::id() { Ok(()) } else { Err(StateError::Elsewhere(self.pid)) }
    }
}

impl Passed {
    /// Copies `fd`. Returns the number of the copy in the next image.
    pub(super) fn add(&mut self, fd: impl AsFd) -> io::Result<RawFd> {
        let copy = rustix::io::fcntl_dupfd_cloexec(fd, 3)?;
        let number = copy.as_raw_fd();
        self.0.push(copy);
        Ok(number)
    }

    /// Copies the descriptors of a socket's file for the next image.
    pub(super) fn add_file(
        &mut self,
        file: Option<&socket_file::SocketFile>,
    ) -> io::Result<Option<SocketFile>> {
        let Some(file) = file else { return Ok(None) };
        let [directory, socket] = file.snapshot();
        Ok(Some(SocketFile {
            path: file.path().to_owned(),
            directory: self.add(directory)?,
            file: self.add(socket)?,
        }))
    }

    /// Copies the descriptors of a role for the next image.
    pub(super) fn add_role(&mut self, peer: &Peer) -> io::Result<Role> {
        let (channel, log, errors) =
            (self.add(&peer.channel)?, self.add(&*peer.log)?, self.add(&*peer.errors)?);
        Ok(Role { pid: peer.pid, channel, log, errors })
    }

    /// The numbers of all copies.
    pub(super) fn numbers(&self) -> Vec<RawFd> {
        self.0.iter().map(AsRawFd::as_raw_fd).collect()
    }

    /// Clears close-on-exec on all copies.
    pub(super) fn keep_on_exec(&self) -> io::Result<()> {
        for fd in &self.0 {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::state::service::ServiceState;

    use super::*;

    /// The state of a service that has served no client.
    fn sample() -> String {
        let state = ServiceState::default();
        let connections = state.connections.borrow().snapshot(|_| Ok(3)).unwrap();
        let state = State {
            version: VERSION,
            messages: wire::VERSION,
            pid: 4242,
            program: "0.1.0".into(),
            descriptors: vec![12],
            directory: "/".into(),
            listeners: vec![Listener { socket: 12, address: None, file: None }],
            generations: Vec::new(),
            connections,
            service: state.snapshot(),
            control: None,
            waiting: Vec::new(),
            exporter: None,
            wrapped: None,
            others: vec![7],
        };
        serde_json::to_string(&state).unwrap()
    }

    fn file(text: &str) -> OwnedFd {
        memory_file::sealed(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let text = sample();
        assert_eq!(serde_json::to_string(&State::read(file(&text)).unwrap()).unwrap(), text);
    }

    #[test]
    fn fields_of_later_versions_are_ignored() {
        let state = sample().replacen('{', "{\"colour\": \"green\",", 1);
        assert!(State::read(file(&state)).is_ok());
    }

    #[test]
    fn states_with_another_version_or_form_are_rejected() {
        let text = sample();
        let later = text.replacen("\"version\":1", "\"version\":2", 1);
        assert!(matches!(State::read(file(&later)), Err(StateError::Version(2))));
        let other = text.replacen("\"messages\":1", "\"messages\":2", 1);
        assert!(matches!(State::read(file(&other)), Err(StateError::Messages(2))));
        for broken in ["", "{}", "[]", "[2,1]", &text[..text.len() / 2]] {
            assert!(matches!(State::read(file(broken)), Err(StateError::Form(_))), "{broken}");
        }
    }

    #[test]
    fn a_state_is_for_one_process() {
        let state = State::read(file(&sample())).unwrap();
        assert!(matches!(state.check_process(), Err(StateError::Elsewhere(4242))));
    }
}
