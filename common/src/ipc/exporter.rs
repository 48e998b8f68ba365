//! Messages between the supervisor and the exporter, which serves metrics over HTTP.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::table::messages;

messages! {
    /// Messages of the supervisor to the exporter.
    pub enum SupervisorToExporter: "supervisor" => "exporter" {
        /// The setup, an `ExporterSetup` in a memory file. Answered with `Ready`.
        SETUP = 1 in Setup then Serving: Setup(file: OwnedFd [fd]),
        /// The listening socket.
        LISTENER = 2 in Serving: Listener(socket: OwnedFd [fd]),
        /// Answer to a `Wanted`, in the order of requests.
        PAGE = 3 in Serving: Page {
            /// For the health page: clients can be served.
            is_well: bool,
            /// The text in a memory file.
            text: OwnedFd [fd],
        },
        /// Demands a `Pong` at once, to show that the role does not hang.
        PING = 4 in Serving: Ping,
    }
}

messages! {
    /// Messages of the exporter to the supervisor.
    #[derive(PartialEq, Eq)]
    pub enum ExporterToSupervisor: "exporter" => "supervisor" {
        /// The role is set up and has this level of confinement. The listener may be sent.
        READY = 1 in Starting then Serving: Ready(level: Level),
        /// A client requests a page; at most `Page::MAX_WANTED` requests are outstanding.
        WANTED = 2 in Serving: Wanted(page: Page),
        /// Answer to `Ping`.
        PONG = 3 in Serving: Pong,
    }
}

/// A page of the exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Page {
    /// All metrics in the OpenMetrics text format.
    Metrics,
    /// Whether clients can be served, and the reason if not.
    Health,
}

impl Page {
    /// Maximum number of outstanding pages: one for each connection.
    pub const MAX_WANTED: usize = 16;
}
