//! Messages between the supervisor and the exporter, which serves metrics and tells whether clients can be served.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::table::messages;

messages! {
    /// Messages of the supervisor to the exporter.
    pub enum SupervisorToExporter: "supervisor" => "exporter" {
        /// The setup, an `ExporterSetup` in a memory file. Answered with `Ready`.
        SETUP = 1 in Setup then Serving: Setup(file: OwnedFd [fd]),
        /// A listening socket; at most one for each protocol.
        LISTENER = 2 in Serving: Listener {
            /// What it serves.
            protocol: Protocol,
            /// The socket.
            socket: OwnedFd [fd],
        },
        /// Answer to a `Wanted`, in the order of requests.
        PAGE = 3 in Serving: Page {
            /// For pages about health: the answer is yes.
            is_well: bool,
            /// The text in a memory file.
            text: OwnedFd [fd],
        },
        /// Demands a `Pong` at once, to show that the role does not hang.
        PING = 4 in Serving: Ping,
        /// Accept no more connections. Those that were accepted are served.
        RETIRE = 5 in Serving: Retire,
    }
}

messages! {
    /// Messages of the exporter to the supervisor.
    #[derive(PartialEq, Eq)]
    pub enum ExporterToSupervisor: "exporter" => "supervisor" {
        /// The role is set up and has this level of confinement. Listeners may be sent.
        READY = 1 in Starting then Serving: Ready(level: Level),
        /// A client requests a page; at most `Page::MAX_WANTED` requests are outstanding.
        WANTED = 2 in Serving: Wanted(page: Page),
        /// Answer to `Ping`.
        PONG = 3 in Serving: Pong,
    }
}

/// What the exporter serves on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1: metrics and health.
    Http,
    /// HAProxy's agent check: one line, written as soon as a connection is accepted (HAProxy's manual, "agent-check").
    AgentCheck,
}

/// A page of the exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Page {
    /// All metrics in the OpenMetrics text format.
    Metrics,
    /// Whether clients can be served, and the reason if not.
    Health,
    /// Whether the supervisor answers.
    Liveness,
    /// The line for HAProxy's agent check.
    AgentCheck,
}

impl Page {
    /// Maximum number of outstanding pages: one for each connection, of which each listener has half.
    pub const MAX_WANTED: usize = 32;
}
