//! Messages between the supervisor and the connector.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::lookup::PluginKind;
use super::offence::Offence;
use super::sockets::{NoSocket, SocketName};
use super::sources::SourceVerdict;
use super::table::messages;
use super::uses::{Reservation, UseLimits};
use super::wrapper::ProgramState;
use super::{ConnectionId, GatewayId, Violation};

messages! {
    /// Messages of the supervisor to the connector.
    pub enum SupervisorToConnector: "supervisor" => "connector" {
        /// The setup, a `ConnectorSetup` in a memory file. Answered with `Ready`.
        SETUP = 1 in Setup then Serving: Setup(file: OwnedFd [fd]),
        /// Tickets to reject, a `SpentBefore` in a memory file. Sent before any gateway.
        SPENT_BEFORE = 2 in Serving: SpentBefore(file: OwnedFd [fd]),
        /// The content of the token files, a `TokenFiles` in a memory file. Replaces the previous content.
        TOKENS = 3 in Serving: Tokens(file: OwnedFd [fd]),
        /// The connection to a plugin program. Replaces an earlier one.
        PLUGIN = 4 in Serving: Plugin {
            /// The decision that the plugin makes.
            kind: PluginKind,
            /// A stream socket.
            socket: OwnedFd [fd],
        },
        /// The state of the wrapped program.
        PROGRAM = 5 in Serving: Program(state: ProgramState),
        /// A channel to a gateway.
        GATEWAY = 6 in Serving: Gateway {
            /// The gateway at the other end.
            id: GatewayId,
            /// The connector's end of the channel.
            channel: OwnedFd [fd],
        },
        /// Demands a `Pong` at once, to show that the role does not hang.
        PING = 7 in Serving: Ping,
        /// These connections have ended, at most `MAX_SETTLED` in a message: give them no target from now on.
        /// Answered with `Settled` once for each.
        FORGET = 8 in Serving: Forget(ids: Vec<ConnectionId>),
        /// An answer to `FindSocket`: there is such a socket.
        SOCKET_FOUND = 9 in Serving: SocketFound(id: ConnectionId),
        /// An answer to `ConnectSocket`.
        SOCKET = 10 in Serving: Socket {
            /// The connection that was asked for.
            id: ConnectionId,
            /// Connected to the socket.
            socket: OwnedFd [fd],
        },
        /// The other answer to `FindSocket` or `ConnectSocket`.
        NO_SOCKET = 11 in Serving: NoSocket {
            /// The connection that was asked for.
            id: ConnectionId,
            /// Why there is none.
            why: NoSocket,
        },
        /// The users of `BasicHTTPAuth`, an `htpasswd::Users` in a memory file. Replaces the previous ones.
        USERS = 12 in Serving: Users(file: OwnedFd [fd]),
        /// The answer to `Reserve`.
        RESERVED = 13 in Serving: Reserved {
            /// The connection that was asked for.
            id: ConnectionId,
            /// Whether the token may be used.
            answer: Reservation,
        },
        /// Some tokens were revoked: reserve a use of every token from now on, whether or not its uses are limited.
        RESERVE_ALL = 14 in Serving: ReserveAll,
        /// The answer to `CheckSource`.
        SOURCE_CHECKED = 15 in Serving: SourceChecked {
            /// The connection that was asked for.
            id: ConnectionId,
            /// Whether the client is served.
            verdict: SourceVerdict,
        },
        /// An answer to `WhichEnded`: those of the connections that have ended.
        ENDED = 16 in Serving: Ended(ids: Vec<ConnectionId>),
        /// The answer to `ClaimTarget`.
        TARGET_CLAIMED = 17 in Serving: TargetClaimed {
            /// The connection that was asked for.
            id: ConnectionId,
            /// Whether the target may have one more session.
            is_free: bool,
        },
    }
}

messages! {
    /// Messages of the connector to the supervisor.
    #[derive(PartialEq, Eq)]
    pub enum ConnectorToSupervisor: "connector" => "supervisor" {
        /// The role is set up and has this level of confinement. Gateways may send requests.
        READY = 1 in Starting then Serving: Ready(level: Level),
        /// The setup can't be used; the reason is for the administrator.
        FAILED = 2 in Starting: Failed(reason: String),
        /// Results of dialling, at most `Dialled::MAX_BATCH` in a message.
        DIALLED = 3 in Serving: Dialled(dialled: Vec<Dialled>),
        /// A gateway has broken protocol.
        VIOLATION = 4 in Serving: Violation(violation: Violation),
        /// Answer to `Ping`.
        PONG = 5 in Serving: Pong,
        /// The plugin program of this kind does not answer any more.
        PLUGIN_HANGS = 6 in Serving: PluginHangs(kind: PluginKind),
        /// Answer to `Forget`, sent after all other messages about these connections; at most `MAX_SETTLED`
        /// in a message.
        SETTLED = 7 in Serving: Settled(ids: Vec<ConnectionId>),
        /// Asks whether a socket is there that the connector may not see. For each connection one question at a time, and
        /// at most `MAX_SOCKET_QUESTIONS` in all.
        FIND_SOCKET = 8 in Serving: FindSocket {
            /// For which connection.
            id: ConnectionId,
            /// Which socket.
            name: SocketName,
        },
        /// Asks for a connection to a socket that the connector may not connect to; bounded as `FindSocket`, and of no
        /// use for a connection that has had one.
        CONNECT_SOCKET = 9 in Serving: ConnectSocket {
            /// For which connection.
            id: ConnectionId,
            /// Which socket.
            name: SocketName,
        },
        /// Reserves a use of a token whose uses are limited, and after a `ReserveAll` of any token, before the target is
        /// dialled. A repetition gets the same answer.
        RESERVE = 10 in Serving: Reserve {
            /// For which connection.
            id: ConnectionId,
            /// Keyed hash of the token, as in `Dialled`.
            token: String,
            /// How often the token may be used.
            limits: UseLimits,
        },
        /// Gives the reservation of a connection and its claim to a target back, as it gets no target.
        RELEASE = 11 in Serving: Release(id: ConnectionId),
        /// Clients that were refused for what their sources are penalised for, at most `Offender::MAX_BATCH` in a message.
        OFFENDERS = 12 in Serving: Offenders(offenders: Vec<Offender>),
        /// Asks whether a client for which a trusted proxy vouches is served, before anything that it shows is looked at.
        /// A repetition gets the same answer. The connection counts for the client's source until it ends, or until
        /// `PageServed` or the question about another client.
        CHECK_SOURCE = 13 in Serving: CheckSource {
            /// The proxy's connection.
            id: ConnectionId,
            /// The client's address according to the proxy.
            client: SocketAddr,
            /// The client asks for a page, not for a session.
            page: bool,
        },
        /// A client about which `CheckSource` has asked may have its page.
        PAGE_SERVED = 14 in Serving: PageServed(id: ConnectionId),
        /// Asks which of these connections have ended, at most `MAX_RECHECKED` in a message. Answered with `Ended`.
        WHICH_ENDED = 15 in Serving: WhichEnded(ids: Vec<ConnectionId>),
        /// The tokens of these sessions no longer allow them, at most `MAX_RECHECKED` in a message: end them.
        REVOKED = 16 in Serving: Revoked(ids: Vec<ConnectionId>),
        /// Asks whether a target may have one more session, before it is dialled, where its sessions are limited. A
        /// repetition gets the same answer. A connection claims one target at a time, until it ends or `Release`.
        CLAIM_TARGET = 17 in Serving: ClaimTarget {
            /// For which connection.
            id: ConnectionId,
            /// The target as in `Dialled`, or a keyed hash of it if it is secret.
            target: String,
        },
    }
}

/// Maximum number of connections in a `Forget` or a `Settled`.
pub const MAX_SETTLED: usize = 1024;

/// Maximum number of connections in a `WhichEnded`, an `Ended` or a `Revoked`.
pub const MAX_RECHECKED: usize = 1024;

/// Result of dialling a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialled {
    /// The connection for which it was dialled.
    pub id: ConnectionId,
    /// The client's address according to its proxies, if it differs from that of the connection.
    pub vouched: Option<SocketAddr>,
    /// The target.
    pub target: String,
    /// The session uses TLS to the target.
    pub secured: bool,
    /// The reason of a failure. `None` means that a session begins.
    pub failure: Option<String>,
    /// Time until the target was connected, if it was.
    pub connect: Option<Duration>,
    /// Maximum duration of the session; `None` for unlimited.
    pub lifetime: Option<Duration>,
    /// The authenticated user.
    pub user: Option<String>,
    /// Keyed hash of the client's token: equal for equal tokens, and useless as a token.
    pub token: Option<String>,
    /// When the token expires, in seconds since 1970; `None` for never.
    pub expires: Option<u64>,
}

impl Dialled {
    /// Maximum number in a message, if texts have the lengths below.
    pub const MAX_BATCH: usize = 12;

    /// Maximum length of target, user name and reason, in bytes.
    pub const MAX_TEXT: usize = 300;

    /// Whether every text fits.
    #[must_use]
    pub fn fits(&self) -> bool {
        [Some(&self.target), self.failure.as_ref(), self.user.as_ref(), self.token.as_ref()]
            .into_iter()
            .flatten()
            .all(|text| text.len() <= Self::MAX_TEXT)
    }
}

/// A client that was refused for what its source is penalised for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offender {
    /// The client's connection.
    pub id: ConnectionId,
    /// An offence that the connector may report.
    pub offence: Offence,
}

impl Offender {
    /// Maximum number in a message, whatever the values.
    pub const MAX_BATCH: usize = 1024;
}
