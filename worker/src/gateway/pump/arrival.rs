//! Sessions that begin before their targets are there.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use common::ipc::gateway::ClosedBy;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{Input, Observer, Session, Terms, Uplink};
use crate::gateway::transport::Transport;
use crate::gateway::websocket::close::ControlPayload;

/// A target that has come, and the terms of its session that are not those of the instance.
pub struct Arrival {
    /// The target.
    pub target: Transport,
    /// Observer of the session, if there is one.
    pub observer: Option<Box<Observer>>,
    /// Maximum duration of the session from now on.
    pub lifetime: Option<Duration>,
    /// Time without data after which the session ends; `None` for `timeouts.idle`.
    pub idle: Option<Duration>,
}

/// Gives the target, or the reason to close the session. Dropped without either if the client has hung up.
pub(super) type Awaited = oneshot::Receiver<Result<Box<Arrival>, ControlPayload>>;

impl Session {
    /// Creates a session whose target comes later, or not at all. `early` is what was received together with the opening
    /// handshake.
    #[must_use]
    pub fn awaiting_target(
        client: Transport,
        target: oneshot::Receiver<Result<Box<Arrival>, ControlPayload>>,
        early: Vec<u8>,
        terms: Rc<Terms>,
    ) -> Box<Self> {
        let mut session = Self::new(client, None, early, terms);
        session.awaited = Some(target);
        session
    }

    /// Takes the target that the session waits for, if it is there. Ends the wait if the session ends.
    pub(super) fn poll_target(&mut self, cx: &mut Context<'_>) {
        if self.awaited.is_some() && self.has_ended() {
            self.awaited = None;
            self.to_target.clear();
            // The client has left: there is nothing to wait for.
            return self.end_downlink(ClosedBy::Client, ControlPayload::close(CloseCode::Normal, ""));
        }
        let Some(awaited) = &mut self.awaited else { return };
        let Poll::Ready(arrived) = Pin::new(awaited).poll(cx) else { return };
        self.awaited = None;
        match arrived {
            Ok(Ok(arrival)) => self.begin_with(*arrival),
            Ok(Err(reason)) => {
                self.to_target.clear();
                self.uplink = Uplink::Closed;
                self.end_downlink(ClosedBy::Target, reason);
            }
            Err(_) => {
                self.to_target.clear();
                self.client_lost(ClosedBy::Client);
                self.end_uplink();
                self.from_client = Input::Over;
            }
        }
    }

    fn begin_with(&mut self, Arrival { target, observer, lifetime, idle }: Arrival) {
        self.target = Some(target);
        self.had_target = true;
        self.from_target = Input::Open;
        self.terms = Rc::clone(&self.terms).with_idle(idle);
        self.idle_since = Instant::now();
        // A lifetime beyond the range of the clock is unlimited.
        self.expires = lifetime.and_then(|lifetime| Instant::now().checked_add(lifetime));
        self.observer = observer;
        if let Some(observer) = self.observer.as_mut().filter(|_| !self.to_target.is_empty()) {
            observer.client_received(self.to_target.pending(), self.decoder.is_within_frame());
        }
    }
}
