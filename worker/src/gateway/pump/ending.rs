//! How a session ends, and by when.
//!
//! An end that comes from the client or the target closes the session when nothing has been acknowledged by either
//! for `timeouts.close-handshake`: whoever reads slowly gets everything. An end of ours closes it after that time,
//! whatever the two do, and forwards nothing that the client sends after it.

use std::task::{Context, Poll};
use std::time::Duration;

use common::ipc::gateway::ClosedBy;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::scratch::Scratch;
use super::{Downlink, Input, Session, Uplink};
use crate::gateway::connections::Ending;
use crate::gateway::transport::Transport;
use crate::gateway::websocket::close::{ControlPayload, Violation};

/// How often a session that is closing asks the kernel what the peers have acknowledged, for which there is no
/// event.
const ACKNOWLEDGEMENT_INTERVAL: Duration = Duration::from_millis(100);

impl Session {
    pub(super) fn has_ended(&self) -> bool {
        self.uplink != Uplink::Open || self.downlink != Downlink::Open || self.limited
    }

    /// Notes who has ended the session first.
    pub(super) fn closed_by(&mut self, who: ClosedBy) {
        self.closed_by.get_or_insert(who);
    }

    /// Notes the status code of the client's Close frame, unless we were first.
    pub(super) fn close_code_seen(&mut self, code: u16) {
        if self.downlink == Downlink::Open {
            self.close_code = code;
        }
    }

    /// Nothing more is forwarded from the target; the client gets a Close frame behind what it has got.
    pub(super) fn end_downlink(&mut self, who: ClosedBy, payload: ControlPayload) {
        if self.downlink == Downlink::Open {
            self.closed_by(who);
            if let [high, low, reason @ ..] = payload.as_slice() {
                self.close_code = u16::from_be_bytes([*high, *low]);
                self.close_reason = String::from_utf8_lossy(reason).into_owned();
            }
            self.downlink = Downlink::Closing(payload);
            self.discard_target();
        }
    }

    /// The client has said all it had to say.
    pub(super) fn end_uplink(&mut self) {
        if self.uplink == Uplink::Open {
            self.uplink = Uplink::Draining;
        }
    }

    /// The client can't be reached any more. What came from it is still the target's.
    pub(super) fn client_lost(&mut self, who: ClosedBy) {
        self.closed_by(who);
        self.client_lost = true;
        self.client.socket().end_input();
        self.to_client.clear();
        self.downlink = Downlink::Closed;
        self.discard_target();
    }

    /// The target takes nothing any more.
    pub(super) fn target_lost(&mut self) {
        self.uplink = Uplink::Closed;
        self.to_target.clear();
    }

    pub(super) fn violate(&mut self, violation: Violation) {
        self.from_client = Input::Discarded;
        self.end_uplink();
        self.limit(self.terms.close_handshake);
        self.end_downlink(ClosedBy::Violation, violation.payload());
    }

    pub(super) fn stop(&mut self, why: Ending) {
        let all = self.terms.close_handshake;
        let (who, time, code, reason) = match why {
            Ending::Shutdown => {
                (ClosedBy::Shutdown, all.min(self.terms.stop), CloseCode::Away, "Server is shutting down")
            }
            Ending::Restart => (ClosedBy::Shutdown, all, CloseCode::Restart, "Service restart"),
            Ending::Disconnected => {
                (ClosedBy::Admin, all, CloseCode::Policy, "Disconnected by an administrator")
            }
        };
        self.limit(time);
        self.end_downlink(who, ControlPayload::close(code, reason));
    }

    /// Closes the session `time` from now at the latest. Nothing that the client sends from now on is forwarded.
    fn limit(&mut self, time: Duration) {
        if !self.limited {
            self.limited = true;
            self.client.socket().end_input();
            self.deadline = None;
        }
        let end = Instant::now() + time;
        self.deadline = Some(self.deadline.map_or(end, |deadline| deadline.min(end)));
    }

    fn discard_target(&mut self) {
        if self.from_target == Input::Open {
            self.from_target = Input::Discarded;
        }
    }

    /// Reads what is not forwarded; says whether there was any.
    pub(super) fn discard(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> bool {
        let from_client = discard(cx, &self.client, &mut self.from_client, scratch);
        let from_target = match &self.target {
            Some(target) => discard(cx, target, &mut self.from_target, scratch),
            None => false,
        };
        from_client || from_target
    }

    /// Whether nothing is left to be done for either side.
    pub(super) fn is_over(&mut self) -> bool {
        // Who has said Close, or is gone, sends nothing more: closing resets nothing once all is acknowledged.
        if self.client_said_close
            && (self.downlink, self.from_client) == (Downlink::Closed, Input::Discarded)
            && self.client.socket().unacknowledged() == 0
        {
            self.from_client = Input::Over;
        }
        let is_shut = self.uplink == Uplink::Closed;
        if let Some(target) = self.target.as_ref().filter(|_| is_shut) {
            let ends_now = self.client_lost && target.socket().unacknowledged() == 0;
            if ends_now || self.from_target == Input::Over {
                self.from_target = Input::Over;
                self.target = None;
            }
        }
        is_shut
            && self.downlink == Downlink::Closed
            && (self.from_client, self.from_target) == (Input::Over, Input::Over)
    }

    /// Acts upon time, and sets the timer for the next time that something must be done.
    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let has_timers = self.next_ping.is_some() || self.terms.idle.is_some() || self.expires.is_some();
        if !self.has_ended() && !has_timers {
            return Poll::Pending;
        }
        let now = Instant::now();
        if self.tick(now) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = if self.has_ended() {
            let deadline = self.closing_deadline(now);
            if now >= deadline {
                return Poll::Ready(());
            }
            let unacknowledged = [Some(&self.client), self.target.as_ref()]
                .into_iter()
                .flatten()
                .any(|side| side.socket().unacknowledged() > 0);
            let look = unacknowledged.then(|| now + ACKNOWLEDGEMENT_INTERVAL);
            [Some(deadline), look, self.expires.filter(|_| !self.limited)]
        } else {
            let idle = self.terms.idle.map(|idle| self.idle_since + idle);
            [idle, self.expires, self.next_ping]
        };
        let Some(next) = next.into_iter().flatten().min() else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
        if timer.deadline() != next {
            timer.as_mut().reset(next);
        }
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// When the closing session is given up: put off, unless it is limited, by what either side acknowledges.
    fn closing_deadline(&mut self, now: Instant) -> Instant {
        let target = self.target.as_ref().map_or(0, |target| target.socket().acknowledged());
        let acknowledged = (self.client.socket().acknowledged(), target);
        if self.acknowledged != acknowledged && !self.limited {
            self.acknowledged = acknowledged;
            self.deadline = None;
        }
        *self.deadline.get_or_insert(now + self.terms.close_handshake)
    }

    /// The lifetime, the limit of silence and the heartbeat; says whether there is something to send or to end.
    fn tick(&mut self, now: Instant) -> bool {
        if self.limited {
            return false;
        }
        if self.expires.is_some_and(|end| now >= end) {
            self.limit(self.terms.close_handshake);
            let reason = ControlPayload::close(CloseCode::Policy, "Session lifetime is over");
            self.end_downlink(ClosedBy::Lifetime, reason);
            return true;
        }
        if self.has_ended() {
            return false;
        }
        let position = self.position();
        if std::mem::replace(&mut self.seen, position) != position {
            self.idle_since = now;
        }
        if self.terms.idle.is_some_and(|idle| now >= self.idle_since + idle) {
            self.limit(self.terms.close_handshake);
            self.end_downlink(ClosedBy::Timeout, ControlPayload::close(CloseCode::Away, "Idle timeout"));
            return true;
        }
        let (Some(next), Some(interval)) = (self.next_ping, self.terms.heartbeat) else { return false };
        if now < next {
            return false;
        }
        self.missed = if std::mem::take(&mut self.heard) { 0 } else { self.missed + 1 };
        self.next_ping = Some(now + interval);
        if self.missed > 1 {
            // The last ping was not answered for a whole interval.
            self.limit(self.terms.close_handshake);
            self.client_lost(ClosedBy::Timeout);
        } else {
            self.ping_due = true;
        }
        true
    }
}

/// Reads and discards what one side sends, if that is what becomes of it; says whether there was any.
fn discard(cx: &mut Context<'_>, side: &Transport, input: &mut Input, scratch: &mut Scratch) -> bool {
    if *input != Input::Discarded {
        return false;
    }
    match side.socket().poll_discard(cx, &mut scratch.data) {
        Poll::Pending => return false,
        Poll::Ready(Ok(received)) if received > 0 => {}
        Poll::Ready(_) => *input = Input::Over,
    }
    true
}
