//! A session: bytes between a client, which speaks in frames, and a target, which does not.
//!
//! Two directions, each with a state of its own:
//!
//! ```text
//! uplink    client → target   Open ──► Draining ──► Closed
//! downlink  target → client   Open ──► Closing(Close frame) ──► Finishing ──► Closed
//! ```
//!
//! | what happens              | uplink   | downlink           | the client is read |
//! |---------------------------|----------|--------------------|--------------------|
//! | Close from the client     | Draining | Closing(the same)  | no more            |
//! | FIN from the client       | Draining | goes on            | no more            |
//! | violation by the client   | Draining | Closing(1002, …)   | and thrown away    |
//! | client unreachable        | Draining | Closed             | no more            |
//! | FIN from the target       | goes on  | Closing(1000)      | until it ends too  |
//! | target broken             | Closed   | Closing(1011)      | and thrown away    |
//! | silence for too long      | goes on  | Closing(1001)      | until it ends too  |
//! | the service stops         | goes on  | Closing(1001)      | until it ends too  |
//! | its generation is too old | goes on  | Closing(1012)      | until it ends too  |
//! | an administrator says so  | goes on  | Closing(1008)      | until it ends too  |
//! | its lifetime is over      | goes on  | Closing(1008)      | until it ends too  |
//!
//! The session is over when both directions are closed and nothing of the client needs to be read any
//! more, or when nothing has moved for the closing handshake's deadline since the first end.

mod backlog;
mod downlink;
mod moderation;
mod observer;
mod read_size;
mod scratch;
mod terms;
mod uplink;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use common::ipc::gateway::{ClosedBy, Frames, SessionSummary};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::connections::{Connection, Ending, Moved};
use super::transport::Transport;
use super::websocket::close::{ControlPayload, Violation};
use super::websocket::frame::Decoder;
use backlog::Backlog;
use moderation::Moderation;
pub use moderation::rest;
pub use observer::Observer;
use read_size::ReadSize;
use scratch::Scratch;
pub use terms::Terms;

/// So often a session reads in a row before it lets others have their turn.
const MAX_ROUNDS: u32 = 8;

/// What a close code stands for when there was no Close frame (RFC 6455 section 7.4.1).
const NO_CLOSE_FRAME: u16 = 1006;

/// A session between a client and a target.
pub struct Session {
    client: Transport,
    target: Option<Transport>,
    terms: Terms,
    observer: Option<Box<Observer>>,
    decoder: Decoder,
    uplink: Uplink,
    downlink: Downlink,
    /// The client is read, even if only to throw away what comes.
    client_is_read: bool,
    /// The client has broken the protocol: what it sends means nothing any more.
    violated: bool,
    /// Frames that came with the opening handshake.
    early: Vec<u8>,
    to_target: Backlog,
    to_client: Backlog,
    client_read: ReadSize,
    target_read: ReadSize,
    moderation: Moderation,
    /// Something came from the client since the last tick of the heartbeat.
    heard: bool,
    /// Ticks of the heartbeat in a row without anything from the client.
    missed: u32,
    ping_due: bool,
    /// How far the session was when the timer was last looked at.
    seen: Position,
    timer: Option<Pin<Box<Sleep>>>,
    next_ping: Option<Instant>,
    idle_since: Instant,
    /// When its lifetime ends.
    expires: Option<Instant>,
    /// Both directions must have ended by then.
    deadline: Option<Instant>,
    bytes_to_target: u64,
    bytes_to_client: u64,
    frames_to_client: u64,
    closed_by: Option<ClosedBy>,
    close_code: u16,
    close_reason: String,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    to_target: u64,
    to_client: u64,
    /// Bytes that wait to be written, to the target and to the client.
    waiting: (usize, usize),
}

/// From the client to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Uplink {
    Open,
    /// Nothing more comes from the client; what came is still to be written.
    Draining,
    Closed,
}

/// From the target to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Downlink {
    Open,
    /// Nothing more comes from the target; what came is still to be written, then this Close frame.
    Closing(ControlPayload),
    /// The Close frame is on its way, then the end of the stream.
    Finishing,
    Closed,
}

impl Session {
    /// A session between `client` and `target`; `early` came with the opening handshake.
    #[must_use]
    pub fn with_target(client: Transport, target: Transport, early: Vec<u8>, terms: Terms) -> Self {
        Self::new(client, Some(target), early, terms)
    }

    /// The same session with somebody who looks on.
    #[must_use]
    pub fn observed_by(mut self, observer: Option<Box<Observer>>) -> Self {
        self.observer = observer;
        self
    }

    fn new(client: Transport, target: Option<Transport>, early: Vec<u8>, terms: Terms) -> Self {
        let now = Instant::now();
        Self {
            client,
            target,
            observer: None,
            decoder: Decoder::new(terms.accept_text),
            uplink: Uplink::Open,
            downlink: Downlink::Open,
            client_is_read: true,
            violated: false,
            early,
            to_target: Backlog::default(),
            to_client: Backlog::default(),
            client_read: ReadSize::new(),
            target_read: ReadSize::new(),
            moderation: Moderation::default(),
            heard: false,
            missed: 0,
            ping_due: false,
            seen: Position::default(),
            timer: None,
            next_ping: terms.heartbeat.map(|interval| now + interval),
            idle_since: now,
            // A lifetime beyond the clock's range is none.
            expires: terms.lifetime.and_then(|lifetime| now.checked_add(lifetime)),
            deadline: None,
            bytes_to_target: 0,
            bytes_to_client: 0,
            frames_to_client: 0,
            closed_by: None,
            close_code: NO_CLOSE_FRAME,
            close_reason: String::new(),
            terms,
        }
    }

    /// A session that gets no target, only a Close frame that says why.
    #[must_use]
    pub fn without_target(client: Transport, reason: ControlPayload, terms: Terms) -> Self {
        let mut session = Self::new(client, None, Vec::new(), terms);
        session.uplink = Uplink::Closed;
        session.end_downlink(ClosedBy::Target, reason);
        session
    }

    /// Runs the session to its end, which it reports to `connection`.
    pub(super) async fn run(mut self, connection: &Connection) {
        let had_target = self.target.is_some();
        poll_fn(|cx| self.poll(cx, connection)).await;
        if !had_target {
            return;
        }
        let Moved { to_target, to_client, frames } = self.moved();
        connection.session_ended(SessionSummary {
            to_target,
            to_client,
            closed_by: self.closed_by.unwrap_or(ClosedBy::Client),
            close_code: self.close_code,
            close_reason: self.close_reason,
            frames,
        });
    }

    fn poll(&mut self, cx: &mut Context<'_>, connection: &Connection) -> Poll<()> {
        if let Some(why) = connection.poll_ending(cx) {
            self.stop(why);
        }
        for _ in 0..MAX_ROUNDS {
            let progress = Scratch::with(|scratch| {
                let up = self.poll_uplink(cx, scratch);
                let down = self.poll_downlink(cx, scratch);
                up || down
            });
            connection.has_moved(self.moved());
            if self.is_over() {
                return Poll::Ready(());
            }
            if !progress {
                return self.poll_timer(cx);
            }
        }
        // Others have their turn first; there may be more to do here at once.
        cx.waker().wake_by_ref();
        self.poll_timer(cx)
    }

    fn moved(&self) -> Moved {
        Moved {
            to_target: self.bytes_to_target,
            to_client: self.bytes_to_client,
            frames: Frames { to_target: self.decoder.frames(), to_client: self.frames_to_client },
        }
    }

    fn position(&self) -> Position {
        Position {
            to_target: self.bytes_to_target,
            to_client: self.bytes_to_client,
            waiting: (self.to_target.len(), self.to_client.len()),
        }
    }

    fn is_over(&self) -> bool {
        self.uplink == Uplink::Closed && self.downlink == Downlink::Closed && !self.client_is_read
    }

    fn has_ended(&self) -> bool {
        self.uplink != Uplink::Open || self.downlink != Downlink::Open
    }

    /// Notes who has ended the session first.
    fn closed_by(&mut self, who: ClosedBy) {
        self.closed_by.get_or_insert(who);
    }

    /// Notes the status code of the client's Close frame, unless we were first.
    fn close_code_seen(&mut self, code: u16) {
        if self.downlink == Downlink::Open {
            self.close_code = code;
        }
    }

    /// Nothing more is read from the target; the client gets a Close frame behind what it has got.
    fn end_downlink(&mut self, who: ClosedBy, payload: ControlPayload) {
        if self.downlink == Downlink::Open {
            self.closed_by(who);
            if let [high, low, reason @ ..] = payload.as_slice() {
                self.close_code = u16::from_be_bytes([*high, *low]);
                self.close_reason = String::from_utf8_lossy(reason).into_owned();
            }
            self.downlink = Downlink::Closing(payload);
        }
    }

    /// The client has said all it had to say.
    fn end_uplink(&mut self) {
        if self.uplink == Uplink::Open {
            self.uplink = Uplink::Draining;
        }
    }

    /// The client can't be reached any more. What it has sent is still the target's.
    fn client_lost(&mut self, who: ClosedBy) {
        self.closed_by(who);
        self.end_uplink();
        self.to_client.clear();
        self.downlink = Downlink::Closed;
        self.client_is_read = false;
    }

    /// The target takes nothing any more.
    fn target_lost(&mut self) {
        self.uplink = Uplink::Closed;
        self.to_target.clear();
    }

    fn violate(&mut self, violation: Violation) {
        self.violated = true;
        self.end_uplink();
        self.end_downlink(ClosedBy::Violation, violation.payload());
    }

    fn stop(&mut self, why: Ending) {
        let (who, code, reason) = match why {
            Ending::Shutdown => (ClosedBy::Shutdown, CloseCode::Away, "Server is shutting down"),
            Ending::Restart => (ClosedBy::Shutdown, CloseCode::Restart, "Service restart"),
            Ending::Disconnected => (ClosedBy::Admin, CloseCode::Policy, "Disconnected by an administrator"),
        };
        self.end_downlink(who, ControlPayload::close(code, reason));
    }

    /// Acts upon time, and sets the timer for the next time that something must be done.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let has_timers = self.next_ping.is_some() || self.terms.idle.is_some() || self.expires.is_some();
        if !self.has_ended() && !has_timers {
            return Poll::Pending;
        }
        let now = Instant::now();
        let (seen, position) = (self.seen, self.position());
        self.seen = position;
        if seen != position {
            self.idle_since = now;
        }
        // What a client sends on and on behind its end must not keep the session.
        if (seen.to_client, seen.waiting) != (position.to_client, position.waiting) {
            self.deadline = None;
        }
        let deadline = if self.has_ended() {
            let deadline = *self.deadline.get_or_insert(now + self.terms.close_handshake);
            if now >= deadline {
                return Poll::Ready(());
            }
            Some(deadline)
        } else {
            if self.tick(now) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let idle = self.terms.idle.map(|idle| self.idle_since + idle);
            [idle, self.expires].into_iter().flatten().min()
        };
        let ping = if self.has_ended() { None } else { self.next_ping };
        let Some(next) = [deadline, ping].into_iter().flatten().min() else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
        if timer.deadline() != next {
            timer.as_mut().reset(next);
        }
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// The lifetime, the limit of silence and the heartbeat; says whether there is something to send or to end.
    fn tick(&mut self, now: Instant) -> bool {
        if self.expires.is_some_and(|end| now >= end) {
            let reason = ControlPayload::close(CloseCode::Policy, "Session lifetime is over");
            self.end_downlink(ClosedBy::Lifetime, reason);
            return true;
        }
        if self.terms.idle.is_some_and(|idle| now >= self.idle_since + idle) {
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
            self.client_lost(ClosedBy::Timeout);
        } else {
            self.ping_due = true;
        }
        true
    }
}
