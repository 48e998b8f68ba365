//! A gateway as the supervisor knows it.

// Its life: its start, what it says, and what happens when it dies.
mod keep;
mod reports;
mod start;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use common::ipc::ack_channel::AckChannel;
use common::ipc::channel::{Channel, ChannelError};
use common::ipc::gateway::{Count, SupervisorToGateway};
use common::ipc::stats::Stats;
use common::ipc::{ConnectionId, GatewayId};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};

use crate::path::generation::Generation;
use crate::roles::role::Role;
use crate::roles::violation::{self, GatewayFault};

pub(crate) use keep::keep;
pub(crate) use start::{adopt, grow, start};

/// How long a gateway may leave its channel unread before it counts as hung.
pub(crate) const READ_DEADLINE: Duration = Duration::from_secs(5);

/// So often a gateway says unasked what it has counted: once before its end, and once if an image before an upgrade
/// has asked.
const MAX_UNASKED_STATS: u8 = 2;

/// Pause before a question is sent again that found no room.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A gateway that is ready.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// Its number.
    pub(crate) id: GatewayId,
    /// The channel to it.
    pub(crate) channel: Rc<Channel>,
    /// Where its log comes from.
    pub(crate) log: Rc<Channel>,
    /// Where it says which connections it has begun to read.
    pub(crate) acknowledgements: AckChannel,
    /// Its process id.
    pub(crate) pid: i32,
    /// Connections that it has or is being given.
    pub(crate) load: Cell<u64>,
    /// Who waits for its answers, in their order.
    asked: RefCell<VecDeque<oneshot::Sender<Vec<Count>>>>,
    /// What it has counted, as far as it has said so.
    pub(crate) stats: RefCell<Stats>,
    /// Who waits for it to say so.
    stats_asked: RefCell<Option<oneshot::Sender<()>>>,
    /// How often it has said so unasked.
    unasked_stats: Cell<u8>,
    /// It was told to end.
    told_to_end: Cell<bool>,
    ended: Notify,
    is_ended: Cell<bool>,
}

/// A gateway's process, for who keeps it alive.
pub(crate) type Started = (Rc<Gateway>, Role);

impl Gateway {
    /// Waits until its process has ended.
    pub(crate) async fn ended(&self) {
        while !self.is_ended.get() {
            self.ended.notified().await;
        }
    }

    /// Tells it to end its sessions and itself. One that is gone or does not read is ended by its keeper,
    /// or when its time is over.
    pub(crate) fn end(&self, how: &SupervisorToGateway) {
        self.told_to_end.set(true);
        let _ = self.channel.try_send(how);
    }

    /// Asks how far connections are, at most [`Count::MAX_BATCH`] of them. Nothing if it has ended.
    pub(crate) async fn count(&self, ids: Vec<ConnectionId>) -> Option<Vec<Count>> {
        let question = SupervisorToGateway::GetCounts(ids);
        let (sender, answer) = oneshot::channel();
        while !self.channel.try_send(&question).ok()? {
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
        if !matches!(self.channel.try_send(&SupervisorToGateway::GetStats), Ok(true)) {
            return;
        }
        let (sender, answer) = oneshot::channel();
        self.stats_asked.replace(Some(sender));
        // One that has ended has said what it had to say.
        let _ = answer.await;
    }

    /// Takes what it has counted: the answer to a question, or its last word.
    fn take_stats(&self, stats: Stats) -> Result<(), GatewayFault> {
        let asked = self.stats_asked.take();
        if asked.is_none() {
            self.unasked_stats.set(self.unasked_stats.get() + 1);
        }
        if !stats.is_possible() || self.unasked_stats.get() > MAX_UNASKED_STATS {
            return Err(GatewayFault::OutOfTurn);
        }
        self.stats.replace(stats);
        if let Some(asked) = asked {
            // Who has given up meanwhile needs no answer.
            let _ = asked.send(());
        }
        Ok(())
    }

    /// Answers that are still to come.
    pub(crate) fn asked_for(&self) -> usize {
        self.asked.borrow().len()
    }

    /// Gives an answer to who has asked first.
    fn take_answer(&self, counts: Vec<Count>) -> Result<(), GatewayFault> {
        let sender = self.asked.borrow_mut().pop_front().ok_or(GatewayFault::OutOfTurn)?;
        // Who has given up meanwhile needs no answer.
        let _ = sender.send(counts);
        Ok(())
    }

    /// What it has used of a processor so far.
    pub(crate) fn processor_time(&self) -> Duration {
        clock_getcpuclockid(Pid::from_raw(self.pid)).and_then(ClockId::now).map_or(Duration::ZERO, Into::into)
    }
}

/// Ends a gateway; its keeper clears up behind it. Says whether it was still there.
pub(crate) fn kill(generation: &Generation, gateway: &Gateway) -> bool {
    if !generation.pool.remove(gateway.id) {
        return false;
    }
    // It is our child, and nobody has waited for it while it was in the pool: the number is still its own.
    let _ = nix::sys::signal::kill(Pid::from_raw(gateway.pid), nix::sys::signal::Signal::SIGKILL);
    true
}

/// Sends a message to a gateway that has a moment to take it, or is ended.
pub(crate) async fn tell(
    generation: &Generation,
    gateway: &Gateway,
    message: &SupervisorToGateway,
) -> Result<(), ChannelError> {
    let Ok(sent) = timeout(READ_DEADLINE, gateway.channel.send(message)).await else {
        violation::condemn(generation, gateway, &GatewayFault::Hung);
        return Err(ChannelError::Closed);
    };
    sent
}

/// One connection of a gateway is gone.
pub(crate) fn lighten(generation: &Generation, gateway: &Gateway) {
    gateway.load.set(gateway.load.get().saturating_sub(1));
    if generation.is_retired() && gateway.load.get() == 0 {
        gateway.end(&SupervisorToGateway::Stop);
    }
    generation.service.dispatch.more_room();
}
