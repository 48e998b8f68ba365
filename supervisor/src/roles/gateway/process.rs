//! A gateway as the supervisor knows it.

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

/// How long a gateway may leave its channel unread before it counts as hung.
pub(crate) const READ_DEADLINE: Duration = Duration::from_secs(5);

/// So often a gateway says unasked what it has counted: once before its end, and once if an image before an upgrade
/// has asked.
pub(super) const MAX_UNASKED_STATS: u8 = 2;

/// Pause before a question is sent again that found no room.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Acknowledgements that are taken at a look: more than the kernel keeps, and an end to the look should a gateway
/// send them faster than they can be read.
const MAX_ACKNOWLEDGEMENTS: u32 = 1024;

/// How long a gateway without connections may take to end when it is told to.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// A gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) id: GatewayId,
    pub(crate) peer: Rc<Peer>,
    /// Where it says which connections it has begun to read.
    pub(crate) acknowledgements: AckChannel,
    /// The gateway's end of that channel, until it has it.
    pub(super) their_acknowledgements: RefCell<Option<OwnedFd>>,
    /// Connections that it was handed since a gateway has come to its generation or left it.
    pub(crate) handed: Cell<u64>,
    /// Connections that it was sent since its start.
    pub(crate) given: Cell<u64>,
    /// Requests that it serves on a connection at most.
    requests: u64,
    since: Instant,
    /// Who waits for its answers, in their order.
    pub(super) asked: RefCell<VecDeque<oneshot::Sender<Vec<Count>>>>,
    /// What it has counted, as far as it has said so.
    pub(crate) stats: RefCell<Stats>,
    /// Who waits for it to say so.
    pub(super) stats_asked: RefCell<Option<oneshot::Sender<()>>>,
    /// How often it has said so unasked.
    pub(super) unasked_stats: Cell<u8>,
    /// It was told to end.
    pub(super) told_to_end: Cell<bool>,
    /// The connector and the signer that it was given channels to, by their processes.
    pub(super) introduced: Cell<(Option<i32>, Option<u64>)>,
    ended: Notify,
    is_ended: Cell<bool>,
}

/// What the next image of the supervisor is told of a gateway beside its process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GatewaySnapshot {
    pub(crate) id: GatewayId,
    /// Answers that are still to come.
    asked: usize,
    stats: Stats,
    given: u64,
    requests: u64,
    age: Duration,
}

impl Gateway {
    /// A gateway that runs, and serves so many requests on a connection at most.
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

    /// One that an earlier image has started.
    pub(crate) fn adopted(snapshot: GatewaySnapshot, peer: Rc<Peer>, acknowledgements: OwnedFd) -> Self {
        let now = Instant::now();
        // Whoever has asked is gone.
        let asked = (0..snapshot.asked).map(|_| oneshot::channel().0).collect();
        Self {
            asked: RefCell::new(asked),
            stats: RefCell::new(snapshot.stats),
            given: Cell::new(snapshot.given),
            since: now.checked_sub(snapshot.age).unwrap_or(now),
            ..Self::new(snapshot.id, peer, acknowledgements, snapshot.requests)
        }
    }

    /// What the next image is told of it.
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

    /// Waits until its process has ended.
    pub(crate) async fn ended(&self) {
        while !self.is_ended.get() {
            self.ended.notified().await;
        }
    }

    /// Tells it to end its sessions and itself. One that is gone or does not read is ended by its keeper, or
    /// when its time is over.
    pub(crate) fn end(&self, how: &SupervisorToGateway) {
        self.told_to_end.set(true);
        let _ = self.peer.channel.try_send(how);
    }

    /// Tells it to end, now that it has no connection. It is killed if it does not.
    pub(crate) fn end_idle(self: &Rc<Self>) {
        if self.told_to_end.get() {
            return;
        }
        self.end(&SupervisorToGateway::Stop);
        let gateway = self.clone();
        spawn_local(async move {
            if timeout(END_DEADLINE, gateway.ended()).await.is_err() && !gateway.peer.is_gone() {
                let Peer { title, pid, .. } = &*gateway.peer;
                tracing::warn!("{title} (pid {pid}) was told to end and has not; it is killed");
                gateway.peer.kill_for_fault(Fault::Overtime);
            }
        });
    }

    /// What is known of what it can have counted.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds { connections: self.given.get(), requests: self.requests, age: self.since.elapsed() }
    }

    /// Sends it a message. It is killed if it leaves the message unread.
    pub(crate) async fn tell(&self, message: &SupervisorToGateway) -> Result<(), ChannelError> {
        match timeout(READ_DEADLINE, self.peer.channel.send(message)).await {
            Ok(sent) => sent,
            Err(_) => {
                self.peer.kill_for_fault(Fault::Hung);
                Err(ChannelError::Closed)
            }
        }
    }

    /// Asks how far connections are, at most [`Count::MAX_BATCH`] of them. Nothing if it has ended.
    pub(crate) async fn count(&self, ids: Vec<ConnectionId>) -> Option<Vec<Count>> {
        let question = SupervisorToGateway::GetCounts(ids);
        let (sender, answer) = oneshot::channel();
        while !self.peer.channel.try_send(&question).ok()? {
            sleep(RETRY_PAUSE).await;
        }
        self.asked.borrow_mut().push_back(sender);
        answer.await.ok()
    }

    /// Asks what it has counted, and waits until it has said so. One that is being asked is not asked again.
    pub(crate) async fn refresh_stats(&self) {
        if self.stats_asked.borrow().is_some() {
            return;
        }
        // One without room for a question is busy.
        if !matches!(self.peer.channel.try_send(&SupervisorToGateway::GetStats), Ok(true)) {
            return;
        }
        let (sender, answer) = oneshot::channel();
        self.stats_asked.replace(Some(sender));
        // One that has ended has said what it had to say.
        let _ = answer.await;
    }

    /// What it has used of a processor so far.
    pub(crate) fn processor_time(&self) -> Duration {
        let pid = Pid::from_raw(self.peer.pid);
        clock_getcpuclockid(pid).and_then(ClockId::now).map_or(Duration::ZERO, Into::into)
    }

    /// Looks which connections it has begun to read, and closes our copies of their sockets.
    pub(crate) fn take_acknowledgements(&self, scope: &Scope) {
        for _ in 0..MAX_ACKNOWLEDGEMENTS {
            match self.acknowledgements.try_receive() {
                Ok(Some(Ack::Reading(id))) => {
                    scope.state.connections.borrow_mut().acknowledged(id, self.id);
                }
                Ok(None) => return,
                Err(error) => return self.peer.kill_for_fault(error.into()),
            }
        }
    }

    /// The process has ended: nobody waits for it any longer.
    pub(super) fn set_ended(&self) {
        self.is_ended.set(true);
        self.stats_asked.take();
        self.ended.notify_waiters();
    }
}
