//! Between the supervisor and the echo target of the demo, which sends nothing.

use std::os::fd::OwnedFd;

use super::table::messages;

messages! {
    /// What the echo target is told.
    pub enum SupervisorToEcho: "supervisor" => "echo" {
        /// An `EchoSetup` as a file in memory.
        SETUP = 1 in Setup then Serving: Setup(file: OwnedFd [fd]),
        /// The listening socket.
        LISTENER = 2 in Serving: Listener(socket: OwnedFd [fd]),
    }
}
