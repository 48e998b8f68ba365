//! The end of a session, and its deadlines.
//!
//! If the client or the target ends the session, it is closed once neither has acknowledged anything for
//! `timeouts.close-handshake`, so that a slow reader receives everything. If we end it, it is closed after
//! that time regardless of progress, and nothing that the client sends meanwhile is forwarded.

use std::task::{Context, Poll};
use std::time::Duration;

use common::ipc::gateway::ClosedBy;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::read_size::ReadSize;
use super::scratch::Scratch;
use super::turn::Turn;
use super::{Downlink, Input, Session, Uplink};
use crate::gateway::connections::Ending;
use crate::gateway::transport::Transport;
use crate::gateway::websocket::close::{ControlPayload, Violation};

/// Interval at which a closing session polls the kernel for acknowledged bytes; there is no event for them.
const ACKNOWLEDGEMENT_INTERVAL: Duration = Duration::from_millis(100);

impl Session {
    pub(super) fn has_ended(&self) -> bool {
        self.uplink != Uplink::Open || self.downlink != Downlink::Open || self.limited
    }

    /// Records the side that ended the session first.
    pub(super) fn closed_by(&mut self, who: ClosedBy) {
        self.closed_by.get_or_insert(who);
    }

    /// Records the status code of the client's Close frame, unless we sent ours first.
    pub(super) fn close_code_seen(&mut self, code: u16) {
        if self.downlink == Downlink::Open {
            self.close_code = code;
        }
    }

    /// Stops reading from the target, and sends a Close frame after the data that is pending for the client.
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

    /// The client sends nothing more: what has been received is written to the target.
    pub(super) fn end_uplink(&mut self) {
        if self.uplink == Uplink::Open {
            self.uplink = Uplink::Draining;
        }
    }

    /// The client is unreachable. What it sent before is still written to the target.
    pub(super) fn client_lost(&mut self, who: ClosedBy) {
        self.closed_by(who);
        self.client_lost = true;
        self.client.socket().end_input();
        self.to_client.clear();
        self.downlink = Downlink::Closed;
        self.discard_target();
    }

    /// The target accepts nothing more.
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
            Ending::Revoked => (ClosedBy::Revoked, all, CloseCode::Policy, "Token was revoked"),
        };
        self.limit(time);
        self.end_downlink(who, ControlPayload::close(code, reason));
    }

    /// Closes the session after at most `time`. Nothing that the client sends from now on is forwarded.
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

    /// Reads and discards input that is not forwarded. Returns whether there was any.
    pub(super) fn discard(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        up_turn: &mut Turn,
        down_turn: &mut Turn,
    ) -> bool {
        let from_client = discard(cx, &self.client, &mut self.from_client, scratch, up_turn);
        let from_target = match &self.target {
            Some(target) => discard(cx, target, &mut self.from_target, scratch, down_turn),
            None => false,
        };
        from_client || from_target
    }

    /// Whether neither side has anything left to do.
    pub(super) fn is_over(&mut self) -> bool {
        // A client that has sent Close, or is gone, sends nothing more. Once everything is acknowledged,
        // closing causes no reset.
        if self.client_said_close
            && self.downlink == Downlink::Closed
            && self.from_client == Input::Discarded
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

    /// Handles expired deadlines, and sets the timer for the next one.
    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.terms.idle.filter(|_| self.awaited.is_none());
        let has_timers = self.next_ping.is_some() || idle.is_some() || self.expires.is_some();
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
            let idle = idle.map(|idle| self.idle_since + idle);
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

    /// The deadline of a closing session. Acknowledged bytes postpone it, unless the session is limited.
    fn closing_deadline(&mut self, now: Instant) -> Instant {
        let target = self.target.as_ref().map_or(0, |target| target.socket().acknowledged());
        let acknowledged = (self.client.socket().acknowledged(), target);
        if self.acknowledged != acknowledged && !self.limited {
            self.acknowledged = acknowledged;
            self.deadline = None;
        }
        *self.deadline.get_or_insert(now + self.terms.close_handshake)
    }

    /// Checks the lifetime, the idle timeout and the heartbeat. Returns whether a frame is due or the session
    /// ends.
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
        let idle = self.terms.idle.filter(|_| self.awaited.is_none());
        if idle.is_some_and(|idle| now >= self.idle_since + idle) {
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
            // The last ping was not answered within a whole interval.
            self.limit(self.terms.close_handshake);
            self.client_lost(ClosedBy::Timeout);
        } else {
            self.ping_due = true;
        }
        true
    }
}

/// Reads and discards the input of one side, if it is to be discarded. Returns whether there was any.
fn discard(
    cx: &mut Context<'_>,
    side: &Transport,
    input: &mut Input,
    scratch: &mut Scratch,
    turn: &mut Turn,
) -> bool {
    if *input != Input::Discarded || turn.is_over() {
        return false;
    }
    let size = turn.limit(ReadSize::MAX);
    match side.socket().poll_discard(cx, &mut scratch.data[..size]) {
        Poll::Pending => return false,
        Poll::Ready(Ok(received)) if received > 0 => turn.spend(received),
        Poll::Ready(_) => *input = Input::Over,
    }
    true
}
