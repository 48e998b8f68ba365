//! Between the supervisor and the connector.

use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::lookup::PluginKind;
use super::table::messages;
use super::wrapper::ProgramState;
use super::{ConnectionId, GatewayId, Violation};

messages! {
    /// What a connector is told.
    pub enum SupervisorToConnector: "supervisor" => "connector" {
        /// A `ConnectorSetup` as a file in memory. Answered with `Ready`.
        SETUP = 1 in Setup then Serving: Setup(file: OwnedFd [fd]),
        /// Before any gateway: a `SpentBefore` as a file in memory.
        SPENT_BEFORE = 2 in Serving: SpentBefore(file: OwnedFd [fd]),
        /// What the files of tokens hold, in place of what was there before: a `TokenFiles` as a file in memory.
        TOKENS = 3 in Serving: Tokens(file: OwnedFd [fd]),
        /// The connection to a program that answers questions, in place of any earlier one.
        PLUGIN = 4 in Serving: Plugin {
            /// What it decides.
            kind: PluginKind,
            /// A stream socket.
            socket: OwnedFd [fd],
        },
        /// How it stands with the wrapped program.
        PROGRAM = 5 in Serving: Program(state: ProgramState),
        /// A channel to a gateway.
        GATEWAY = 6 in Serving: Gateway {
            /// Which gateway has the other end.
            id: GatewayId,
            /// The connector's end.
            channel: OwnedFd [fd],
        },
        /// Answered with `Pong` at once, to show that the role does not hang.
        PING = 7 in Serving: Ping,
        /// These connections are over, at most `MAX_SETTLED` of them: give them no target from now on. Answered with
        /// `Settled` for each, once.
        FORGET = 8 in Serving: Forget(ids: Vec<ConnectionId>),
    }
}

messages! {
    /// What a connector says.
    #[derive(PartialEq, Eq)]
    pub enum ConnectorToSupervisor: "connector" => "supervisor" {
        /// Set up and so far confined, and gateways may ask.
        READY = 1 in Starting then Serving: Ready(level: Level),
        /// The setup can't work; a human should read why.
        FAILED = 2 in Starting: Failed(reason: String),
        /// Targets were dialled for connections; at most `Dialled::MAX_BATCH` of them in a message.
        DIALLED = 3 in Serving: Dialled(dialled: Vec<Dialled>),
        /// A gateway breaks protocol.
        VIOLATION = 4 in Serving: Violation(violation: Violation),
        /// The answer to `Ping`.
        PONG = 5 in Serving: Pong,
        /// The program of `Plugin` with this kind does not answer any more.
        PLUGIN_HANGS = 6 in Serving: PluginHangs(kind: PluginKind),
        /// The answer to `Forget`, after everything else that is said about these connections; at most `MAX_SETTLED` of
        /// them in a message.
        SETTLED = 7 in Serving: Settled(ids: Vec<ConnectionId>),
    }
}

/// So many connections fit into a `Forget` or a `Settled`.
pub const MAX_SETTLED: usize = 1024;

/// What came of dialling a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialled {
    /// For which connection.
    pub id: ConnectionId,
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

    /// Longest target, name, or reason of a failure,
    /// bytes.
    pub const MAX_TEXT: usize = 300;
}
