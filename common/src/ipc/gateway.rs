//! Messages between the supervisor and a gateway.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::ConnectionId;
use super::level::Level;
use super::offence::Offence;
use super::request::Requested;
use super::stats::Stats;
use super::table::messages;
use crate::ticket::Ticket;

messages! {
    /// Messages of the supervisor to a gateway.
    pub enum SupervisorToGateway: "supervisor" => "gateway" {
        /// The setup, a `GatewaySetup` in a memory file.
        SETUP = 1 in Setup then Starting: Setup(file: OwnedFd [fd]),
        /// The channel for `Ack` messages.
        ACKNOWLEDGEMENTS = 2 in Starting: Acknowledgements(channel: OwnedFd [fd]),
        /// The web directory.
        WEB_ROOT = 3 in Starting: WebRoot(directory: OwnedFd [fd]),
        /// A channel to the connector. Replaces an earlier one.
        CONNECTOR = 4 in Starting | Serving: Connector(channel: OwnedFd [fd]),
        /// A `ServerIdentity` in a memory file. It takes effect with the next `Signer`.
        CERTIFICATE = 5 in Starting | Serving: Certificate(file: OwnedFd [fd]),
        /// A channel to the signer of the last certificate. Replaces an earlier one.
        SIGNER = 6 in Starting | Serving: Signer(channel: OwnedFd [fd]),
        /// Everything needed to start has been sent. Answered with `Ready`.
        BEGIN = 7 in Starting then Serving: Begin,
        /// A connection to serve.
        CONNECTION = 8 in Serving: Connection {
            /// Facts about the connection, which also entitle it to a target.
            ticket: Ticket,
            /// It begins with a header of the PROXY protocol, which its peer may send.
            proxy_header: bool,
            /// Its socket.
            socket: OwnedFd [fd],
        } lost ticket.claims.connection,
        /// The file for the recording of a session.
        RECORDING = 9 in Serving: Recording {
            /// The connection of the session.
            id: ConnectionId,
            /// An empty file, open for writing.
            file: OwnedFd [fd],
        } lost id,
        /// There is no file for the recording of this session.
        NO_RECORDING = 10 in Serving: NoRecording(id: ConnectionId),
        /// End the sessions of these connections, at most `MAX_ENDED` in a message.
        END = 11 in Serving: End {
            /// Their connections.
            ids: Vec<ConnectionId>,
            /// The cause, which chooses the Close.
            cause: EndCause,
        },
        /// Requests the traffic of these connections, at most `Count::MAX_BATCH` in a message. Answered at
        /// once with `Counts`; an empty list only checks that the gateway is alive.
        GET_COUNTS = 12 in Serving: GetCounts(ids: Vec<ConnectionId>),
        /// Requests the counters. Answered at once with `Stats`.
        GET_STATS = 13 in Serving: GetStats,
        /// No further connections will be sent. Sessions continue. Keep-alive ends, so that the next requests
        /// of clients are served by the newer configuration.
        RETIRE = 14 in Serving: Retire,
        /// End all sessions with Close 1012 (Service Restart), then exit.
        RESTART = 15 in Serving: Restart,
        /// End all sessions with Close 1001, then exit.
        STOP = 16 in Serving: Stop,
    }
}

messages! {
    /// Messages of a gateway to the supervisor.
    #[derive(PartialEq, Eq)]
    pub enum GatewayToSupervisor: "gateway" => "supervisor" {
        /// The role is set up and has this level of confinement. Connections may be sent.
        READY = 1 in Starting then Serving: Ready(level: Level),
        /// The setup can't be used; the reason is for the administrator.
        FAILED = 2 in Starting: Failed(reason: String),
        /// Events of connections since the last report.
        REPORT = 3 in Serving: Report(report: Report),
        /// Answer to a `GetCounts`, for those of the connections that still exist.
        COUNTS = 4 in Serving: Counts(counts: Vec<Count>),
        /// Requests a file for the recording of a session, once for each.
        OPEN_RECORDING = 5 in Serving: OpenRecording {
            /// The connection of the session.
            id: ConnectionId,
            /// The client's address according to its proxies, for the log.
            vouched: Option<SocketAddr>,
        },
        /// The requests by which connections have become sessions, at most `Requested::MAX_BATCH` in a
        /// message. Sent only with `GatewaySetup::tell_requests`.
        REQUESTED = 6 in Serving: Requested(requested: Vec<Requested>),
        /// Answer to a `GetStats`. Also sent once before the end of the gateway.
        STATS = 7 in Serving: Stats(stats: Stats),
    }
}

messages! {
    /// Messages of a gateway on a channel that the supervisor polls when it is awake anyway, so that they
    /// cost no wake-up.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub enum Ack: "gateway" => "supervisor" {
        /// The gateway is about to read the first byte of this connection, so that no other gateway can serve
        /// it any more.
        READING = 1 in Serving: Reading(id: ConnectionId),
        /// Likewise, and that byte begins a TLS handshake.
        READING_TLS = 2 in Serving: ReadingTls(id: ConnectionId),
    }
}

/// Maximum number of connections in an `End`.
pub const MAX_ENDED: usize = 1024;

/// Why the supervisor ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndCause {
    /// An administrator disconnects it: Close 1008.
    Disconnected,
    /// Its token no longer allows it: Close 1008.
    Revoked,
    /// The service stops: Close 1001.
    Shutdown,
}

/// Traffic of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The session's connection.
    pub id: ConnectionId,
    /// Bytes of payload to the target so far.
    pub to_target: u64,
    /// Bytes of payload to the client so far.
    pub to_client: u64,
    /// Number of data frames so far.
    pub frames: Frames,
}

/// Number of data frames in each direction. Control frames don't count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frames {
    /// From the client. Each fragment of a message counts.
    pub to_target: u64,
    /// To the client.
    pub to_client: u64,
}

impl Count {
    /// Maximum number in a message, whatever the values.
    pub const MAX_BATCH: usize = 256;
}

/// Events of connections, at most [`Report::MAX_ENTRIES`] of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Connections whose socket could not be received, as too many descriptors are open.
    pub lost: Vec<ConnectionId>,
    /// Connections that have ended.
    pub ended: Vec<Ended>,
}

impl Report {
    /// Maximum number of entries of each kind in a message, whatever the values.
    pub const MAX_ENTRIES: usize = 64;

    /// Whether there is nothing to report.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.ended.is_empty()
    }
}

/// A connection that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The connection.
    pub id: ConnectionId,
    /// Summary of its session, if it had one.
    pub session: Option<SessionSummary>,
    /// What the client has done to be penalised for, if anything: an offence that gateways may report.
    pub offence: Option<Offence>,
    /// The address of the client of the last request according to its proxies, if it differs from that of the connection:
    /// who is penalised.
    pub vouched: Option<SocketAddr>,
}

impl Ended {
    /// The end of a connection, without an offence.
    #[must_use]
    pub fn new(id: ConnectionId, session: Option<SessionSummary>) -> Self {
        Self { id, session, offence: None, vouched: None }
    }

    /// What the client is penalised for: a session that has broken protocol counts, too.
    #[must_use]
    pub fn offence(&self) -> Option<Offence> {
        let has_violated = |session: &SessionSummary| session.closed_by == ClosedBy::Violation;
        let of_session =
            self.session.as_ref().is_some_and(has_violated).then_some(Offence::ProtocolViolation);
        self.offence.or(of_session)
    }
}

/// Summary of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSummary {
    /// Bytes of payload to the target.
    pub to_target: u64,
    /// Bytes of payload to the client.
    pub to_client: u64,
    /// The side that ended the session.
    pub closed_by: ClosedBy,
    /// Status code of the Close frame that ended it (RFC 6455 section 7.4): 1005 for a frame without a code,
    /// 1006 for no frame.
    pub close_code: u16,
    /// Reason of that frame, at most [`Self::MAX_REASON`] bytes. Text from the client is untrusted.
    pub close_reason: String,
    /// Number of data frames.
    pub frames: Frames,
    /// The client has sent a Close frame.
    pub client_said_close: bool,
}

impl SessionSummary {
    /// Maximum length of a reason in bytes (RFC 6455 section 5.5). Invalid characters take up to three times
    /// as many.
    pub const MAX_REASON: usize = 123;

    /// Whether the status code is one of RFC 6455 section 7.4.2, and the reason fits into a Close frame.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        (1000..5000).contains(&self.close_code) && self.close_reason.len() <= 3 * Self::MAX_REASON
    }
}

/// The side or the cause that ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClosedBy {
    /// The client sent Close or ended its TCP connection.
    Client,
    /// The target ended or broke its connection.
    Target,
    /// The client violated RFC 6455.
    Violation,
    /// The idle timeout or the heartbeat has expired.
    Timeout,
    /// The service was stopped, or the generation of the session was ended.
    Shutdown,
    /// An administrator disconnected the session.
    Admin,
    /// The lifetime that a plugin or a token has set is over.
    Lifetime,
    /// The session's token no longer allows it.
    Revoked,
}

impl ClosedBy {
    /// A word for session records.
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
            Self::Revoked => "revoked",
        }
    }
}
