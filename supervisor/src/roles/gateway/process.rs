//! A running gateway.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::ipc::ack_channel::AckChannel;
use common::ipc::channel::ChannelError;
use common::ipc::gateway::{Ack, Count, SupervisorToGateway};
use common::ipc::stats::{Bounds, Stats};
use common::ipc::{ConnectionId, GatewayId};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::roles::peer::{Fault, Peer};
use crate::roles::scope::Scope;

/// Time limit for a gateway to read its channel. After that it counts as hung.
pub(crate) const READ_DEADLINE: Duration = Duration::from_secs(5);

/// Number of unsolicited counters that a gateway may send: once before its end, and once if an earlier image
/// has requested them.
pub(super) const MAX_UNASKED_STATS: u8 = 2;

/// Pause before a request is sent again if the channel was full.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Maximum number of acknowledgements that are read at once: more than the kernel queues, and a bound in case
/// a gateway sends them faster than they are read.
const MAX_ACKNOWLEDGEMENTS: u32 = 1024;

/// Time limit for a gateway without connections to end after the order.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// A gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) id: GatewayId,
    pub(crate) peer: Rc<Peer>,
    /// Channel on which it acknowledges the connections that it has begun to read.
    pub(crate) acknowledgements: AckChannel,
    /// The gateway's end of that channel, until it is passed on.
    pub(super) their_acknowledgements: RefCell<Option<OwnedFd>>,
    /// Number of connections that it received since the number of gateways in its generation last changed.
    pub(crate) handed: Cell<u64>,
    /// Number of connections that it received since its start.
    pub(crate) given: Cell<u64>,
    /// Maximum number of requests on one of its connections.
    requests: u64,
    since: Instant,
    /// Pending requests for counters of sessions, in their order.
    pub(super) asked: RefCell<VecDeque<oneshot::Sender<Vec<Count>>>>,
    /// Counters that it has reported last.
    pub(crate) stats: RefCell<Stats>,
    /// A pending request for these counters.
    pub(super) stats_asked: RefCell<Option<oneshot::Sender<()>>>,
    /// Number of unsolicited reports of these counters.
    pub(super) unasked_stats: Cell<u8>,
    /// The gateway was ordered to end.
    pub(super) told_to_end: Cell<bool>,
    /// Identity of the connector and the signer to which it has channels.
    pub(super) introduced: Cell<(Option<i32>, Option<u64>)>,
    ended: Notify,
    is_ended: Cell<bool>,
}

/// State of a gateway for the next image of the supervisor, beside its process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GatewaySnapshot {
    pub(crate) id: GatewayId,
    /// Number of answers that are still to come.
    asked: usize,
    stats: Stats,
    given: u64,
    requests: u64,
    age: Duration,
}

impl Gateway {
    /// Creates the state of a running gateway that serves at most `requests` on a connection.
    pub(super) fn new(id: GatewayId, peer: Rc<Peer>, acknowledgements: OwnedFd, requests: u64) -> Self {
        Self {
            id,
            peer,
            acknowledgements: AckChannel::new(acknowledgements),
            their_acknowledgements: RefCell::default(),
            handed: Cell::default(),
            given: Cell::default(),
            requests,
            since: Instant::now(),
            asked: RefCell::default(),
            stats: RefCell::default(),
            stats_asked: RefCell::default(),
            unasked_stats: Cell::default(),
            told_to_end: Cell::default(),
            introduced: Cell::default(),
            ended: Notify::new(),
            is_ended: Cell::default(),
        }
    }

    /// Creates the state of a gateway that an earlier image has started.
    pub(crate) fn adopted(snapshot: GatewaySnapshot, peer: Rc<Peer>, acknowledgements: OwnedFd) -> Self {
        let now = Instant::now();
        // The requesters belonged to the earlier image.
        let asked = (0..snapshot.asked).map(|_| oneshot::channel().0).collect();
        Self {
            asked: RefCell::new(asked),
            stats: RefCell::new(snapshot.stats),
            given: Cell::new(snapshot.given),
            since: now.checked_sub(snapshot.age).unwrap_or(now),
            ..Self::new(snapshot.id, peer, acknowledgements, snapshot.requests)
        }
    }

    /// State for the next image of the supervisor.
    pub(crate) fn snapshot(&self) -> GatewaySnapshot {
        GatewaySnapshot {
            id: self.id,
            asked: self.asked.borrow().len(),
            stats: self.stats.borrow().clone(),
            given: self.given.get(),
            requests: self.requests,
            age: self.since.elapsed(),
        }
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&self) {
        while !self.is_ended.get() {
            self.ended.notified().await;
        }
    }

    /// Orders the gateway to end its sessions and exit. If it does not read this, its keeper ends it, or a
    /// deadline does.
    pub(crate) fn end(&self, how: &SupervisorToGateway) {
        self.told_to_end.set(true);
        let _ = self.peer.channel.try_send(how);
    }

    /// Orders a gateway without connections to end, and kills it after a deadline.
    pub(crate) fn end_idle(self: &Rc<Self>) {
        if self.told_to_end.get() {
            return;
        }
        self.end(&SupervisorToGateway::Stop);
        let gateway = self.clone();
        spawn_local(async move {
            if timeout(END_DEADLINE, gateway.ended()).await.is_err() && !gateway.peer.is_gone() {
                let Peer { title, pid, .. } = &*gateway.peer;
                tracing::warn!("{title} (pid {pid}) has not ended in time; killing it");
                gateway.peer.kill_for_fault(Fault::Overtime);
            }
        });
    }

    /// Limits of what it can plausibly have counted.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds { connections: self.given.get(), requests: self.requests, age: self.since.elapsed() }
    }

    /// Sends a message. A gateway that does not read it in time is killed.
    pub(crate) async fn tell(&self, message: &SupervisorToGateway) -> Result<(), ChannelError> {
        match timeout(READ_DEADLINE, self.peer.channel.send(message)).await {
            Ok(sent) => sent,
            Err(_) => {
                self.peer.kill_for_fault(Fault::Hung);
                Err(ChannelError::Closed)
            }
        }
    }

    /// Requests the traffic of connections, at most [`Count::MAX_BATCH`] of them. Returns `None` if the
    /// gateway has ended.
    pub(crate) async fn count(&self, ids: Vec<ConnectionId>) -> Option<Vec<Count>> {
        let question = SupervisorToGateway::GetCounts(ids);
        let (sender, answer) = oneshot::channel();
        while !self.peer.channel.try_send(&question).ok()? {
            sleep(RETRY_PAUSE).await;
        }
        self.asked.borrow_mut().push_back(sender);
        answer.await.ok()
    }

    /// Requests new counters and waits for them. Does nothing if a request is pending.
    pub(crate) async fn refresh_stats(&self) {
        if self.stats_asked.borrow().is_some() {
            return;
        }
        // A gateway with a full channel is busy. It is skipped.
        if !matches!(self.peer.channel.try_send(&SupervisorToGateway::GetStats), Ok(true)) {
            return;
        }
        let (sender, answer) = oneshot::channel();
        self.stats_asked.replace(Some(sender));
        // Fails if the gateway has ended. It has reported its counters then.
        let _ = answer.await;
    }

    /// Processor time that it has used so far.
    pub(crate) fn processor_time(&self) -> Duration {
        let pid = Pid::from_raw(self.peer.pid);
        clock_getcpuclockid(pid).and_then(ClockId::now).map_or(Duration::ZERO, Into::into)
    }

    /// Reads acknowledgements, and closes our copies of the sockets of these connections.
    pub(crate) fn take_acknowledgements(&self, scope: &Scope) {
        for _ in 0..MAX_ACKNOWLEDGEMENTS {
            match self.acknowledgements.try_receive() {
                Ok(Some(ack @ (Ack::Reading(id) | Ack::ReadingTls(id)))) => {
                    if matches!(ack, Ack::ReadingTls(_)) {
                        scope.state.connections.borrow_mut().begins_tls(id, self.id);
                    }
                    scope.state.connections.borrow_mut().acknowledged(id, self.id);
                }
                Ok(None) => return,
                Err(error) => return self.peer.kill_for_fault(error.into()),
            }
        }
    }

    /// Marks the process as ended, and wakes those who wait for it.
    pub(super) fn set_ended(&self) {
        self.is_ended.set(true);
        self.stats_asked.take();
        self.ended.notify_waiters();
    }
}
