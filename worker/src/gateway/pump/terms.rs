//! Settings of sessions.

use std::rc::Rc;
use std::time::Duration;

use common::ipc::setup::GatewaySetup;

/// The settings of a gateway that concern sessions.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Accepts text messages and forwards them like binary ones.
    pub accept_text: bool,
    /// Interval of pings. A client that is silent for two intervals counts as unreachable.
    pub heartbeat: Option<Duration>,
    /// `timeouts.idle`.
    pub idle: Option<Duration>,
    /// `timeouts.close-handshake`.
    pub close_handshake: Duration,
    /// `timeouts.stop`.
    pub stop: Duration,
}

impl Terms {
    /// The settings that all sessions of a gateway have in common.
    #[must_use]
    pub fn of(setup: &GatewaySetup) -> Self {
        Self {
            accept_text: setup.accept_text,
            heartbeat: setup.heartbeat,
            idle: setup.timeouts.idle,
            close_handshake: setup.timeouts.close_handshake,
            stop: setup.timeouts.stop,
        }
    }

    /// The same settings with an idle timeout of the session's own, if it has one.
    #[must_use]
    pub fn with_idle(self: Rc<Self>, idle: Option<Duration>) -> Rc<Self> {
        if idle.is_none() { self } else { Rc::new(Self { idle, ..*self }) }
    }
}
