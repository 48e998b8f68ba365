//! On what terms sessions run.

use std::time::Duration;

use common::config::Timeouts;
use common::ipc::setup::GatewaySetup;

/// The part of a gateway's setup that concerns sessions.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Text messages are passed on like binary ones.
    pub accept_text: bool,
    /// Interval of pings. A client that is silent for two is gone.
    pub heartbeat: Option<Duration>,
    /// Deadlines: `idle` and `close_handshake` concern sessions.
    pub timeouts: Timeouts,
    /// How long the session may last, by the word of a plugin.
    pub lifetime: Option<Duration>,
}

impl Terms {
    /// Those of a gateway, for all sessions.
    #[must_use]
    pub fn of(setup: &GatewaySetup) -> Self {
        Self {
            accept_text: setup.accept_text,
            heartbeat: setup.heartbeat,
            timeouts: setup.timeouts,
            lifetime: None,
        }
    }
}
