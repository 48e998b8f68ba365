//! Messages between the supervisor and the echo role, which sends none.

use std::os::fd::OwnedFd;

use super::table::messages;

messages! {
    /// Messages of the supervisor to the echo role.
    pub enum SupervisorToEcho: "supervisor" => "echo" {
        /// The setup, an `EchoSetup` in a memory file.
        SETUP = 1 in Setup then Serving: Setup(file: OwnedFd [fd]),
        /// The listening socket.
        LISTENER = 2 in Serving: Listener(socket: OwnedFd [fd]),
    }
}
