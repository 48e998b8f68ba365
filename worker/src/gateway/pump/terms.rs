//! On what terms sessions run.

use std::time::Duration;

use common::ipc::setup::GatewaySetup;

/// The part of a gateway's setup that concerns sessions. Each session keeps a copy, so that nothing else stands here.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Text messages are passed on like binary ones.
    pub accept_text: bool,
    /// Interval of pings. A client that is silent for two is gone.
    pub heartbeat: Option<Duration>,
    /// `timeouts.idle`.
    pub idle: Option<Duration>,
    /// `timeouts.close-handshake`.
    pub close_handshake: Duration,
    /// `timeouts.stop`.
    pub stop: Duration,
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
            idle: setup.timeouts.idle,
            close_handshake: setup.timeouts.close_handshake,
            stop: setup.timeouts.stop,
            lifetime: None,
        }
    }
}
