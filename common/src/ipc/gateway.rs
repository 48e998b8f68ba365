//! Between the supervisor and a gateway.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::ConnectionId;
use super::level::Level;
use super::request::Requested;
use super::stats::Stats;
use super::table::messages;
use crate::ticket::Ticket;

messages! {
    /// What a gateway is told.
    pub enum SupervisorToGateway: "supervisor" => "gateway" {
        /// A `GatewaySetup` as a file in memory.
        SETUP = 1 in Setup then Starting: Setup(file: OwnedFd [fd]),
        /// Where to say `Ack`.
        ACKNOWLEDGEMENTS = 2 in Starting: Acknowledgements(channel: OwnedFd [fd]),
        /// The directory with the web's files.
        WEB_ROOT = 3 in Starting: WebRoot(directory: OwnedFd [fd]),
        /// A channel to a connector, in place of any earlier one.
        CONNECTOR = 4 in Starting | Serving: Connector(channel: OwnedFd [fd]),
        /// A certificate chain (list of DER, leaf first) as a file in memory. It comes into force with the next
        /// `Signer`.
        CERTIFICATE = 5 in Starting | Serving: Certificate(file: OwnedFd [fd]),
        /// A channel to the signer of the last certificate, in place of any earlier one.
        SIGNER = 6 in Starting | Serving: Signer(channel: OwnedFd [fd]),
        /// Everything needed to begin was sent. Answered with `Ready`.
        BEGIN = 7 in Starting then Serving: Begin,
        /// A connection to serve.
        CONNECTION = 8 in Serving: Connection {
            /// What is known about it, and what lets it have a target.
            ticket: Ticket,
            /// Its socket.
            socket: OwnedFd [fd],
        } lost ticket.claims.connection,
        /// The file for the recording of a session.
        RECORDING = 9 in Serving: Recording {
            /// The session's connection.
            id: ConnectionId,
            /// Empty, and open for writing.
            file: OwnedFd [fd],
        } lost id,
        /// There is no file for the recording of this session.
        NO_RECORDING = 10 in Serving: NoRecording(id: ConnectionId),
        /// End the session of this connection with Close 1008, whoever it is: an administrator wants it.
        DISCONNECT = 11 in Serving: Disconnect(id: ConnectionId),
        /// Say how far these connections are, at most `Count::MAX_BATCH` of them. Answered at once with `Counts`;
        /// without any it only asks whether somebody is there.
        GET_COUNTS = 12 in Serving: GetCounts(ids: Vec<ConnectionId>),
        /// Say what was counted so far. Answered at once with `Stats`.
        GET_STATS = 13 in Serving: GetStats,
        /// No connection follows. Sessions go on; connections that have had a request end, as the next one would
        /// better be served under a newer configuration.
        RETIRE = 14 in Serving: Retire,
        /// End all sessions with Close 1012 (Service Restart), then the process.
        RESTART = 15 in Serving: Restart,
        /// End all sessions with Close 1001, then the process.
        STOP = 16 in Serving: Stop,
    }
}

messages! {
    /// What a gateway says.
    #[derive(PartialEq, Eq)]
    pub enum GatewayToSupervisor: "gateway" => "supervisor" {
        /// Set up and so far confined, and connections may come.
        READY = 1 in Starting then Serving: Ready(level: Level),
        /// The setup can't work; a human should read why.
        FAILED = 2 in Starting: Failed(reason: String),
        /// What has happened to connections since the last report.
        REPORT = 3 in Serving: Report(report: Report),
        /// The answer to one `GetCounts`: those of the connections that are there.
        COUNTS = 4 in Serving: Counts(counts: Vec<Count>),
        /// A session begins that is to be recorded: asks for a file, once for each.
        OPEN_RECORDING = 5 in Serving: OpenRecording(id: ConnectionId),
        /// These connections have become sessions, by these requests; at most `Requested::MAX_BATCH` of them. Said
        /// only if `GatewaySetup::tell_requests`.
        REQUESTED = 6 in Serving: Requested(requested: Vec<Requested>),
        /// The answer to one `GetStats`; and once more before the end, unasked.
        STATS = 7 in Serving: Stats(stats: Stats),
    }
}

messages! {
    /// What a gateway says on a channel of its own, on which the supervisor does not wait: it looks there when it is
    /// awake anyway, so that a connection costs it one wake-up less.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub enum Ack: "gateway" => "supervisor" {
        /// The first byte of this connection is about to be read, so that no other gateway can serve it any more.
        READING = 1 in Serving: Reading(id: ConnectionId),
    }
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
    /// Its frames so far.
    pub frames: Frames,
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
    pub close_reason: String,
    /// Its frames.
    pub frames: Frames,
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
