//! Between the supervisor and the connector, and the demo's echo target, which is told as little.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ask::Duty;
use super::earlier::Dialled3;
use super::level::Level;
use super::wire::{self, Encoded, Message, WireError};
use super::wrapper::ProgramState;
use super::{ConnectionId, GatewayId, Violation};

/// What a connector is told.
#[derive(Debug)]
pub enum SupervisorToConnector {
    /// First of all: a [`super::setup::ConnectorSetup`] as a file in memory. Answer with `Ready`.
    Setup(OwnedFd),
    /// A channel to a gateway.
    Gateway {
        /// Which gateway has the other end.
        id: GatewayId,
        /// Our end.
        channel: OwnedFd,
    },
    /// What the files of tokens hold, in place of what was there before: a
    /// [`super::setup::TokenFiles`] as a file in memory.
    Tokens(OwnedFd),
    /// The connection to a program that answers questions, in place of any earlier one.
    Plugin {
        /// What it decides.
        duty: Duty,
        /// A stream socket.
        socket: OwnedFd,
    },
    /// Is somebody there? Answer with `Here` at once.
    Ask,
    /// How it stands with the wrapped program.
    Program(ProgramState),
    /// Before any gateway: a [`crate::ticket::Past`] as a file in memory.
    Past(OwnedFd),
}

impl Message for SupervisorToConnector {
    fn encode(&self) -> Result<Encoded<'_>, WireError> {
        match self {
            Self::Setup(fd) => wire::body(1, &(), Some(fd.as_fd())),
            Self::Gateway { id, channel } => wire::body(2, id, Some(channel.as_fd())),
            Self::Tokens(fd) => wire::body(3, &(), Some(fd.as_fd())),
            Self::Ask => wire::body(4, &(), None),
            Self::Plugin { duty: Duty::Targets, socket } => wire::body(5, &(), Some(socket.as_fd())),
            Self::Program(state) => wire::body(6, state, None),
            Self::Past(fd) => wire::body(7, &(), Some(fd.as_fd())),
            Self::Plugin { duty: Duty::Admission(place), socket } => {
                wire::body(8, place, Some(socket.as_fd()))
            }
        }
    }

    fn decode(tag: u8, body: &[u8], fd: Option<OwnedFd>) -> Result<Self, WireError> {
        match tag {
            1 => wire::fields(tag, body).and_then(|()| Ok(Self::Setup(wire::with_fd(fd)?))),
            2 => Ok(Self::Gateway { id: wire::fields(tag, body)?, channel: wire::with_fd(fd)? }),
            3 => wire::fields(tag, body).and_then(|()| Ok(Self::Tokens(wire::with_fd(fd)?))),
            4 => wire::without_fd(fd).and_then(|()| wire::fields(tag, body)).map(|()| Self::Ask),
            5 => {
                let () = wire::fields(tag, body)?;
                Ok(Self::Plugin { duty: Duty::Targets, socket: wire::with_fd(fd)? })
            }
            6 => wire::without_fd(fd).and_then(|()| Ok(Self::Program(wire::fields(tag, body)?))),
            7 => wire::fields(tag, body).and_then(|()| Ok(Self::Past(wire::with_fd(fd)?))),
            8 => {
                let duty = Duty::Admission(wire::fields(tag, body)?);
                Ok(Self::Plugin { duty, socket: wire::with_fd(fd)? })
            }
            _ => Err(WireError::Tag(tag)),
        }
    }
}

/// What a connector says.
#[derive(Debug, PartialEq, Eq)]
pub enum ConnectorToSupervisor {
    /// Set up and so far confined, and gateways may ask.
    Ready(Level),
    /// The setup can't work; a human should read why.
    Failed(String),
    /// Targets were dialled for connections; at most [`Dialled::MAX_BATCH`] of them in a message.
    Dialled(Vec<Dialled>),
    /// A gateway breaks protocol.
    Violation(Violation),
    /// The answer to `Ask`.
    Here,
    /// The program of `Plugin` with this duty does not answer any more.
    PluginHangs(Duty),
}

/// What came of dialling a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialled {
    /// For which connection.
    pub id: ConnectionId,
    /// The client, for the log.
    pub client: String,
    /// The target.
    pub target: String,
    /// The session uses TLS with the target.
    pub secured: bool,
    /// Why it can't be reached; otherwise a session begins.
    pub failure: Option<String>,
    /// How long that took, if it is reached.
    pub connect: Option<Duration>,
    /// Who the client has proved to be.
    pub user: Option<String>,
    /// What its token becomes under a key of the supervisor's: the same for the same token, and nobody makes a token of
    /// it.
    pub token: Option<String>,
}

impl Dialled {
    /// So many fit into a message, as long as they keep to the lengths below.
    pub const MAX_BATCH: usize = 12;

    /// Longest address of a client (unix socket paths are shorter), target, name, or reason of a failure,
    /// bytes.
    pub const MAX_TEXT: usize = 300;
}

impl Message for ConnectorToSupervisor {
    fn encode(&self) -> Result<Encoded<'_>, WireError> {
        match self {
            Self::Ready(level) => wire::body(1, level, None),
            Self::Failed(why) => wire::body(2, why, None),
            Self::Dialled(dialled) => wire::body(8, dialled, None),
            Self::Violation(violation) => wire::body(4, violation, None),
            Self::Here => wire::body(5, &(), None),
            Self::PluginHangs(Duty::Targets) => wire::body(6, &(), None),
            Self::PluginHangs(Duty::Admission(place)) => wire::body(7, place, None),
        }
    }

    fn decode(tag: u8, body: &[u8], fd: Option<OwnedFd>) -> Result<Self, WireError> {
        wire::without_fd(fd)?;
        match tag {
            1 => Ok(Self::Ready(wire::fields(tag, body)?)),
            2 => Ok(Self::Failed(wire::fields(tag, body)?)),
            3 => {
                let earlier: Vec<Dialled3> = wire::fields(tag, body)?;
                Ok(Self::Dialled(earlier.into_iter().map(Into::into).collect()))
            }
            8 => Ok(Self::Dialled(wire::fields(tag, body)?)),
            4 => Ok(Self::Violation(wire::fields(tag, body)?)),
            5 => wire::fields(tag, body).map(|()| Self::Here),
            6 => wire::fields(tag, body).map(|()| Self::PluginHangs(Duty::Targets)),
            7 => Ok(Self::PluginHangs(Duty::Admission(wire::fields(tag, body)?))),
            _ => Err(WireError::Tag(tag)),
        }
    }
}

/// What the demo's echo target is told.
#[derive(Debug)]
pub enum SupervisorToEcho {
    /// First of all: a [`super::setup::EchoSetup`] as a file in memory.
    Setup(OwnedFd),
    /// The listening socket.
    Listener(OwnedFd),
}

impl Message for SupervisorToEcho {
    fn encode(&self) -> Result<Encoded<'_>, WireError> {
        match self {
            Self::Setup(fd) => wire::body(1, &(), Some(fd.as_fd())),
            Self::Listener(fd) => wire::body(2, &(), Some(fd.as_fd())),
        }
    }

    fn decode(tag: u8, body: &[u8], fd: Option<OwnedFd>) -> Result<Self, WireError> {
        let () = wire::fields(tag, body)?;
        match tag {
            1 => Ok(Self::Setup(wire::with_fd(fd)?)),
            2 => Ok(Self::Listener(wire::with_fd(fd)?)),
            _ => Err(WireError::Tag(tag)),
        }
    }
}
