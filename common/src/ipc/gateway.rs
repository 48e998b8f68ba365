//! Between the supervisor and a gateway.

use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::ConnectionId;
use super::earlier::{Count4, Report3, Report8, Requested6};
use super::level::Level;
use super::request::Requested;
use super::tally::Tally;
use super::wire::{self, Encoded, Message, WireError};
use crate::ticket::Ticket;

/// What a gateway is told.
#[derive(Debug)]
pub enum SupervisorToGateway {
    /// First of all: a [`super::setup::GatewaySetup`] as a file in memory.
    Setup(OwnedFd),
    /// The folder with the web's files.
    WebRoot(OwnedFd),
    /// Where to say [`Begun`].
    Acknowledgements(OwnedFd),
    /// A channel to a connector, in place of any earlier one.
    Connector(OwnedFd),
    /// A certificate chain (list of DER, leaf first) as a file in memory. It comes into force with
    /// the next `Signer`.
    Certificate(OwnedFd),
    /// A channel to the signer of the last certificate, in place of any earlier one.
    Signer(OwnedFd),
    /// A connection to serve.
    Connection {
        /// What is known about it, and what lets it have a target.
        ticket: Ticket,
        /// Its socket.
        socket: OwnedFd,
    },
    /// The file for the recording of a session.
    Recording {
        /// Whose.
        id: ConnectionId,
        /// Empty, and open for writing.
        file: OwnedFd,
    },
    /// There is no file for a recording.
    NoRecording(ConnectionId),
    /// Everything needed to begin was sent: answer with `Ready`.
    Begin,
    /// End all sessions with Close 1001, then the process.
    Stop,
    /// No connection follows. Sessions go on; connections that have had a request end, as the next one
    /// would better be served under a newer configuration.
    Retire,
    /// End all sessions with Close 1012 (Service Restart), then the process.
    Restart,
    /// End the session of this connection with Close 1008, whoever it is: an administrator wants it.
    Disconnect(ConnectionId),
    /// Say how far these connections are, at most [`Count::MAX_BATCH`] of them. Answer at once, with
    /// `Counts`; without any it only asks whether somebody is there.
    Ask(Vec<ConnectionId>),
    /// Say what was counted so far. Answer at once, with `Tally`.
    AskTally,
}

impl Message for SupervisorToGateway {
    fn encode(&self) -> Result<Encoded<'_>, WireError> {
        match self {
            Self::Setup(fd) => wire::body(1, &(), Some(fd.as_fd())),
            Self::WebRoot(fd) => wire::body(2, &(), Some(fd.as_fd())),
            Self::Connector(fd) => wire::body(3, &(), Some(fd.as_fd())),
            Self::Certificate(fd) => wire::body(4, &(), Some(fd.as_fd())),
            Self::Signer(fd) => wire::body(5, &(), Some(fd.as_fd())),
            Self::Connection { ticket, socket } => wire::body(6, ticket, Some(socket.as_fd())),
            Self::Begin => wire::body(7, &(), None),
            Self::Stop => wire::body(8, &(), None),
            Self::Acknowledgements(fd) => wire::body(9, &(), Some(fd.as_fd())),
            Self::Retire => wire::body(10, &(), None),
            Self::Restart => wire::body(11, &(), None),
            Self::Disconnect(id) => wire::body(12, id, None),
            Self::Ask(ids) => wire::body(13, ids, None),
            Self::Recording { id, file } => wire::body(14, id, Some(file.as_fd())),
            Self::NoRecording(id) => wire::body(15, id, None),
            Self::AskTally => wire::body(16, &(), None),
        }
    }

    fn decode(tag: u8, body: &[u8], fd: Option<OwnedFd>) -> Result<Self, WireError> {
        if tag == 6 {
            return Ok(Self::Connection { ticket: wire::fields(tag, body)?, socket: wire::with_fd(fd)? });
        }
        if tag == 14 {
            return Ok(Self::Recording { id: wire::fields(tag, body)?, file: wire::with_fd(fd)? });
        }
        if let 12 | 13 | 15 = tag {
            wire::without_fd(fd)?;
            return match tag {
                12 => Ok(Self::Disconnect(wire::fields(tag, body)?)),
                13 => Ok(Self::Ask(wire::fields(tag, body)?)),
                _ => Ok(Self::NoRecording(wire::fields(tag, body)?)),
            };
        }
        let () = wire::fields(tag, body)?;
        match tag {
            1 => Ok(Self::Setup(wire::with_fd(fd)?)),
            2 => Ok(Self::WebRoot(wire::with_fd(fd)?)),
            3 => Ok(Self::Connector(wire::with_fd(fd)?)),
            4 => Ok(Self::Certificate(wire::with_fd(fd)?)),
            5 => Ok(Self::Signer(wire::with_fd(fd)?)),
            7 => wire::without_fd(fd).map(|()| Self::Begin),
            8 => wire::without_fd(fd).map(|()| Self::Stop),
            9 => Ok(Self::Acknowledgements(wire::with_fd(fd)?)),
            10 => wire::without_fd(fd).map(|()| Self::Retire),
            11 => wire::without_fd(fd).map(|()| Self::Restart),
            16 => wire::without_fd(fd).map(|()| Self::AskTally),
            _ => Err(WireError::Tag(tag)),
        }
    }
}

/// What a message was about whose descriptor was lost on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// A connection.
    Connection(ConnectionId),
    /// The recording of a session.
    Recording(ConnectionId),
}

impl Lost {
    /// Reads it from what is left of the message.
    ///
    /// # Errors
    ///
    /// When it was another message.
    pub fn read(datagram: &[u8]) -> Result<Self, WireError> {
        match *datagram {
            [_, 6, ref body @ ..] => Ok(Self::Connection(wire::fields::<Ticket>(6, body)?.claims.connection)),
            [_, 14, ref body @ ..] => Ok(Self::Recording(wire::fields(14, body)?)),
            _ => Err(WireError::Truncated),
        }
    }
}

/// What a gateway says.
#[derive(Debug, PartialEq, Eq)]
pub enum GatewayToSupervisor {
    /// Set up and so far confined, and connections may come.
    Ready(Level),
    /// The setup can't work; a human should read why.
    Failed(String),
    /// What has happened to connections since the last report.
    Report(Report),
    /// The answer to one `Ask`: those of the connections that are there.
    Counts(Vec<Count>),
    /// A session begins that is to be recorded: asks for a file, once for each.
    Record(ConnectionId),
    /// These connections have become sessions, by these requests; at most [`Requested::MAX_BATCH`] of them.
    /// Said only if [`super::setup::GatewaySetup::tell_requests`].
    Requested(Vec<Requested>),
    /// The answer to one `AskTally`; and once more before the end, unasked.
    Tally(Tally),
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Which.
    pub id: ConnectionId,
    /// Bytes of payload to the target so far.
    pub to_target: u64,
    /// Bytes of payload to the client so far.
    pub to_client: u64,
    /// Its frames so far; nothing from a gateway of an earlier version, which does not count them.
    pub frames: Option<Frames>,
}

/// Frames of data that a session has relayed. Control frames are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frames {
    /// From the client, each fragment of a message for itself.
    pub to_target: u64,
    /// To the client.
    pub to_client: u64,
}

impl Count {
    /// So many fit into a message, whatever they say.
    pub const MAX_BATCH: usize = 256;
}

/// The first byte of a connection is about to be read, so that no other gateway can serve it any more.
///
/// This has a channel of its own, on which the supervisor does not wait: it looks there when it is
/// awake anyway, and so a connection costs it one wake-up less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun(pub ConnectionId);

impl Message for Begun {
    fn encode(&self) -> Result<Encoded<'_>, WireError> {
        wire::body(1, &self.0, None)
    }

    fn decode(tag: u8, body: &[u8], fd: Option<OwnedFd>) -> Result<Self, WireError> {
        wire::without_fd(fd)?;
        match tag {
            1 => Ok(Self(wire::fields(tag, body)?)),
            _ => Err(WireError::Tag(tag)),
        }
    }
}

/// What has happened to connections. At most [`Report::MAX_ENTRIES`] in each list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Their socket could not be received: too many descriptors are open.
    pub lost: Vec<ConnectionId>,
    /// They have ended.
    pub ended: Vec<Ended>,
}

impl Report {
    /// So many entries of each list fit into a message whatever they say.
    pub const MAX_ENTRIES: usize = 64;

    /// Nothing to report.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.ended.is_empty()
    }
}

/// A connection that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Which.
    pub id: ConnectionId,
    /// What its session did, if it became one.
    pub session: Option<SessionSummary>,
}

/// What a session did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSummary {
    /// Bytes of payload to the target.
    pub to_target: u64,
    /// Bytes of payload to the client.
    pub to_client: u64,
    /// Who ended it.
    pub closed_by: ClosedBy,
    /// Status code of the Close frame that ended it (RFC 6455 section 7.4), 1005 for one without code
    /// and 1006 for none at all.
    pub close_code: u16,
    /// Its reason, at most [`Self::MAX_REASON`] bytes. The client's is the client's.
    #[serde(default)]
    pub close_reason: String,
    /// Its frames; nothing from a gateway of an earlier version, which does not count them.
    #[serde(default)]
    pub frames: Option<Frames>,
}

impl SessionSummary {
    /// Longest reason, bytes (RFC 6455 section 5.5); characters that are none take up to three times as many.
    pub const MAX_REASON: usize = 123;
}

/// Who ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClosedBy {
    /// It sent Close or ended its TCP connection.
    Client,
    /// It ended or broke its connection.
    Target,
    /// The client broke RFC 6455.
    Violation,
    /// Silence longer than allowed.
    Timeout,
    /// The service was stopped, or a reload has replaced the generation that served it.
    Shutdown,
    /// An administrator disconnected it.
    Admin,
    /// The time is over that a plugin has given it.
    Lifetime,
}

impl ClosedBy {
    /// One word for records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Target => "target",
            Self::Violation => "violation",
            Self::Timeout => "timeout",
            Self::Shutdown => "shutdown",
            Self::Admin => "admin",
            Self::Lifetime => "lifetime",
        }
    }
}

impl Message for GatewayToSupervisor {
    fn encode(&self) -> Result<Encoded<'_>, WireError> {
        match self {
            Self::Ready(level) => wire::body(1, level, None),
            Self::Failed(why) => wire::body(2, why, None),
            Self::Report(report) => wire::body(10, report, None),
            Self::Counts(counts) => wire::body(11, counts, None),
            Self::Record(id) => wire::body(5, id, None),
            Self::Requested(requested) => wire::body(9, requested, None),
            Self::Tally(tally) => wire::body(7, tally, None),
        }
    }

    fn decode(tag: u8, body: &[u8], fd: Option<OwnedFd>) -> Result<Self, WireError> {
        wire::without_fd(fd)?;
        match tag {
            1 => Ok(Self::Ready(wire::fields(tag, body)?)),
            2 => Ok(Self::Failed(wire::fields(tag, body)?)),
            3 => Ok(Self::Report(wire::fields::<Report3>(tag, body)?.into())),
            4 => {
                let earlier: Vec<Count4> = wire::fields(tag, body)?;
                Ok(Self::Counts(earlier.into_iter().map(Into::into).collect()))
            }
            5 => Ok(Self::Record(wire::fields(tag, body)?)),
            6 => {
                let earlier: Vec<Requested6> = wire::fields(tag, body)?;
                Ok(Self::Requested(earlier.into_iter().map(Into::into).collect()))
            }
            7 => Ok(Self::Tally(wire::fields(tag, body)?)),
            8 => Ok(Self::Report(wire::fields::<Report8>(tag, body)?.into())),
            9 => Ok(Self::Requested(wire::fields(tag, body)?)),
            10 => Ok(Self::Report(wire::fields(tag, body)?)),
            11 => Ok(Self::Counts(wire::fields(tag, body)?)),
            _ => Err(WireError::Tag(tag)),
        }
    }
}
