//! The pump: forwards bytes between a client, which sends frames, and a target, which sends a plain stream.
//!
//! Each direction has its own state:
//!
//! ```text
//! uplink    client → target   Open ──► Draining ──► Closed
//! downlink  target → client   Open ──► Closing(Close frame) ──► Finishing ──► Closed
//! ```
//!
//! | what happens              | uplink      | downlink           | what the client sends  | closing        |
//! |---------------------------|-------------|--------------------|------------------------|----------------|
//! | Close from the client     | Draining    | Closing(the same)  | discarded              | while it moves |
//! | FIN from the client       | Draining    | goes on            | nothing                | while it moves |
//! | client unreachable        | what came   | Closed             | nothing                | while it moves |
//! | FIN from the target       | goes on     | Closing(1000)      | forwarded              | while it moves |
//! | target broken             | Closed      | Closing(1011)      | discarded              | while it moves |
//! | violation by the client   | Draining    | Closing(1002, …)   | discarded              | limited        |
//! | no pong                   | what came   | Closed             | nothing                | limited        |
//! | silence for too long      | what came   | Closing(1001)      | discarded              | limited        |
//! | the service stops         | what came   | Closing(1001)      | discarded              | limited        |
//! | its generation is too old | what came   | Closing(1012)      | discarded              | limited        |
//! | its token is revoked      | what came   | Closing(1008)      | discarded              | limited        |
//! | an administrator says so  | what came   | Closing(1008)      | discarded              | limited        |
//! | its lifetime is over      | what came   | Closing(1008)      | discarded              | limited        |
//!
//! "What came" is what the kernel has received from the client so far. It is forwarded; anything later is
//! not.
//!
//! A session may begin before its target is there (`arrival`). Until then what the client sends is kept, up to one read,
//! and whatever ends the uplink ends the session.
//!
//! Input that is not forwarded is read and discarded until its side ends: closing a socket with unread data
//! sends RST, which discards what the other side has not read yet. `ending` describes the deadlines.

mod arrival;
mod backlog;
mod downlink;
mod ending;
mod moderation;
mod observer;
mod read_size;
mod scratch;
mod terms;
mod turn;
mod uplink;

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use common::ipc::gateway::{ClosedBy, Frames, SessionSummary};
use tokio::time::{Instant, Sleep};

use super::connections::{Connection, Moved};
use super::transport::Transport;
use super::websocket::close::ControlPayload;
use super::websocket::frame::Decoder;
pub use arrival::Arrival;
use arrival::Awaited;
use backlog::Backlog;
use moderation::Moderation;
pub use moderation::rest;
pub use observer::Observer;
use read_size::ReadSize;
use scratch::Scratch;
pub use terms::Terms;
use turn::{Turn, Waiting};

/// Close code of a session that ended without a Close frame (RFC 6455 section 7.4.1).
const NO_CLOSE_FRAME: u16 = 1006;

/// A session between a client and a target.
pub struct Session {
    client: Transport,
    target: Option<Transport>,
    /// Where the target comes from, while it is not there yet.
    awaited: Option<Awaited>,
    /// The session has or had a target.
    had_target: bool,
    terms: Rc<Terms>,
    observer: Option<Box<Observer>>,
    decoder: Decoder,
    uplink: Uplink,
    downlink: Downlink,
    /// State of the client's input.
    from_client: Input,
    /// State of the target's input.
    from_target: Input,
    /// The client has sent a Close frame. It sends nothing after it.
    client_said_close: bool,
    /// The client is unreachable.
    client_lost: bool,
    /// Frames that were received together with the opening handshake.
    early: Vec<u8>,
    to_target: Backlog,
    to_client: Backlog,
    client_read: ReadSize,
    target_read: ReadSize,
    moderation: Moderation,
    /// Set while the session has used up its turn.
    waiting: Option<Waiting>,
    /// Data was received from the client since the last tick of the heartbeat.
    heard: bool,
    /// Consecutive ticks of the heartbeat without data from the client.
    missed: u32,
    ping_due: bool,
    /// Progress at the last check of the idle timeout.
    seen: Position,
    timer: Option<Pin<Box<Sleep>>>,
    next_ping: Option<Instant>,
    idle_since: Instant,
    /// End of the session's lifetime.
    expires: Option<Instant>,
    /// We end the session: nothing postpones `deadline`.
    limited: bool,
    /// Time by which both directions must have ended.
    deadline: Option<Instant>,
    /// Bytes that client and target had acknowledged when the deadline was set.
    acknowledged: (u64, u64),
    bytes_to_target: u64,
    bytes_to_client: u64,
    frames_to_client: u64,
    closed_by: Option<ClosedBy>,
    close_code: u16,
    close_reason: String,
}

/// A snapshot of the progress of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    to_target: u64,
    to_client: u64,
    /// Bytes pending for the target and for the client.
    waiting: (usize, usize),
}

/// State of the direction from client to target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Uplink {
    Open,
    /// The client sends nothing more. Received data is still written.
    Draining,
    Closed,
}

/// State of the direction from target to client.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Downlink {
    Open,
    /// Nothing more is read from the target. Received data is still written, followed by this Close frame.
    Closing(ControlPayload),
    /// The Close frame is being written. The end of the stream follows.
    Finishing,
    Closed,
}

/// The handling of one side's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// Input is read and forwarded.
    Open,
    /// Input is read and discarded.
    Discarded,
    /// Input has ended, or is no longer read.
    Over,
}

impl Session {
    /// Creates a session between `client` and `target`. `early` is what was received together with the
    /// opening handshake.
    #[must_use]
    pub fn with_target(client: Transport, target: Transport, early: Vec<u8>, terms: Rc<Terms>) -> Box<Self> {
        Self::new(client, Some(target), early, terms)
    }

    /// Adds an observer to the session.
    #[must_use]
    pub fn observed_by(mut self: Box<Self>, observer: Option<Box<Observer>>) -> Box<Self> {
        self.observer = observer;
        self
    }

    /// Limits the duration of the session.
    #[must_use]
    pub fn for_at_most(mut self: Box<Self>, lifetime: Option<Duration>) -> Box<Self> {
        // A lifetime beyond the range of the clock is unlimited.
        self.expires = lifetime.and_then(|lifetime| Instant::now().checked_add(lifetime));
        self
    }

    // Boxed, since the future of the session would hold it once for each function that it passes through.
    fn new(client: Transport, target: Option<Transport>, early: Vec<u8>, terms: Rc<Terms>) -> Box<Self> {
        let now = Instant::now();
        Box::new(Self {
            observer: None,
            decoder: Decoder::new(terms.accept_text),
            uplink: Uplink::Open,
            downlink: Downlink::Open,
            from_client: Input::Open,
            awaited: None,
            had_target: target.is_some(),
            from_target: if target.is_some() { Input::Open } else { Input::Over },
            client_said_close: false,
            client_lost: false,
            early,
            to_target: Backlog::default(),
            to_client: Backlog::default(),
            client_read: ReadSize::new(),
            target_read: ReadSize::new(),
            moderation: Moderation::default(),
            waiting: None,
            heard: false,
            missed: 0,
            ping_due: false,
            seen: Position::default(),
            timer: None,
            next_ping: terms.heartbeat.map(|interval| now + interval),
            idle_since: now,
            expires: None,
            limited: false,
            deadline: None,
            acknowledged: (0, 0),
            bytes_to_target: 0,
            bytes_to_client: 0,
            frames_to_client: 0,
            closed_by: None,
            close_code: NO_CLOSE_FRAME,
            close_reason: String::new(),
            client,
            target,
            terms,
        })
    }

    /// Creates a session without a target: it sends a Close frame with the reason and ends.
    #[must_use]
    pub fn without_target(client: Transport, reason: ControlPayload, terms: Rc<Terms>) -> Box<Self> {
        let mut session = Self::new(client, None, Vec::new(), terms);
        session.uplink = Uplink::Closed;
        session.end_downlink(ClosedBy::Target, reason);
        session
    }

    /// Runs the session to its end, and stores its summary in `connection`.
    pub(super) async fn run(mut self: Box<Self>, connection: Rc<Connection>) {
        poll_fn(|cx| self.poll(cx, &connection)).await;
        if !self.had_target {
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
            client_said_close: self.client_said_close,
        });
    }

    fn poll(&mut self, cx: &mut Context<'_>, connection: &Connection) -> Poll<()> {
        if let Some(why) = connection.poll_ending(cx) {
            self.stop(why);
        }
        self.poll_target(cx);
        self.waiting = None;
        // Each direction has its own turn, so that neither starves the other.
        let is_tls = self.client.is_tls() || self.target.as_ref().is_some_and(Transport::is_tls);
        let (mut up_turn, mut down_turn) = (Turn::begin(is_tls), Turn::begin(is_tls));
        while !up_turn.is_over() && !down_turn.is_over() {
            let progress = Scratch::with(|scratch| {
                let up = self.poll_uplink(cx, scratch, &mut up_turn);
                let down = self.poll_downlink(cx, scratch, &mut down_turn);
                let rest = self.has_ended() && self.discard(cx, scratch, &mut up_turn, &mut down_turn);
                up || down || rest
            });
            connection.has_moved(self.moved());
            if self.has_ended() && self.is_over() {
                return Poll::Ready(());
            }
            if !progress {
                return self.poll_timer(cx);
            }
        }
        // There may be more to do at once, but other sessions and the supervisor's messages come first.
        // `yield_now` resumes this task after the event loop has polled for events, which it otherwise does
        // once in many turns only.
        self.waiting = Some(Waiting::for_turn(cx));
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
}
