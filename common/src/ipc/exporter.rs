//! Between the supervisor and the exporter, which serves metrics over HTTP.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::table::messages;

messages! {
    /// What an exporter is told.
    pub enum SupervisorToExporter: "supervisor" => "exporter" {
        /// An `ExporterSetup` as a file in memory. Answered with `Ready`.
        SETUP = 1 in Setup then Serving: Setup(file: OwnedFd [fd]),
        /// The listening socket.
        LISTENER = 2 in Serving: Listener(socket: OwnedFd [fd]),
        /// The answer to one `Wanted`, in their order.
        PAGE = 3 in Serving: Page {
            /// All is well with what was asked for.
            is_well: bool,
            /// The text as a file in memory.
            text: OwnedFd [fd],
        },
        /// Answered with `Pong` at once, to show that the role does not hang.
        PING = 4 in Serving: Ping,
    }
}

messages! {
    /// What an exporter says.
    #[derive(PartialEq, Eq)]
    pub enum ExporterToSupervisor: "exporter" => "supervisor" {
        /// Set up and so far confined, and the listener may come.
        READY = 1 in Starting then Serving: Ready(level: Level),
        /// Somebody asks for a page; at most `Page::MAX_WANTED` at a time.
        WANTED = 2 in Serving: Wanted(page: Page),
        /// The answer to `Ping`.
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
    /// How many pages may be outstanding: one for each connection.
    pub const MAX_WANTED: usize = 16;
}
