//! Ends sessions whose tokens no longer allow them: `TokenTable` is looked at again while there are sessions.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use common::ipc::gateway::{MAX_REVOKED, SupervisorToGateway};
use common::ipc::{ConnectionId, GatewayId};
use tokio::time::{sleep, timeout};

use super::generation::Generation;
use super::intake::Intake;
use super::overtime;

/// Interval at which the files are looked at. A change is in force within a second.
const INTERVAL: Duration = Duration::from_millis(400);

/// Time limit for a gateway to read an order. One that does not read counts as hung elsewhere.
const ORDER_DEADLINE: Duration = Duration::from_secs(5);

/// Looks at the files of tokens while there are sessions that may have to end, for the life of the service.
pub(crate) async fn keep_looking(intake: Rc<Intake>) {
    let state = &intake.state;
    loop {
        let generations = intake.generations.all();
        let watched: Vec<_> = generations.into_iter().filter(|one| one.may_revoke()).collect();
        if watched.is_empty() {
            state.revocable.notified().await;
        }
        sleep(INTERVAL).await;
        for generation in watched {
            generation.refresh_tokens().await;
        }
    }
}

impl Generation {
    /// Whether a change of its files may end a session.
    fn may_revoke(&self) -> bool {
        self.tokens.can_revoke() && self.scope.state.connections.borrow().any_session_of(self.number)
    }

    /// Ends the sessions that their tokens no longer allow.
    pub(super) async fn revoke(&self) {
        if self.tokens.can_revoke() {
            let all = self.scope.state.connections.borrow().ids();
            self.revoke_among(&all).await;
        }
    }

    /// Ends those of these connections that have a session which their tokens no longer allow.
    pub(super) async fn revoke_among(&self, ids: &[ConnectionId]) {
        let state = &self.scope.state;
        let revoked = state.connections.borrow().sessions_where(self.number, ids, |token, session| {
            token.is_some_and(|token| !self.tokens.allows(token, session))
        });
        self.end_sessions(revoked).await;
    }

    /// Orders gateways to end these sessions, and sees to it that they do.
    pub(super) async fn end_sessions(&self, sessions: Vec<(GatewayId, ConnectionId)>) {
        let state = &self.scope.state;
        let mut orders: BTreeMap<GatewayId, Vec<ConnectionId>> = BTreeMap::new();
        let time = self.config.timeouts.close_handshake + overtime::GRACE;
        for (gateway, id) in sessions {
            state.connections.borrow_mut().limit(id, time);
            orders.entry(gateway).or_default().push(id);
        }
        if orders.is_empty() {
            return;
        }
        state.limited.notify_one();
        let count: usize = orders.values().map(Vec::len).sum();
        tracing::info!("ending {count} sessions whose tokens no longer allow them");
        for gateway in self.pool.all() {
            for ids in orders.get(&gateway.id).into_iter().flat_map(|ids| ids.chunks(MAX_REVOKED)) {
                let order = SupervisorToGateway::Revoke(ids.to_vec());
                // One that is gone has no sessions, and one that does not read is killed when their time is over.
                let _ = timeout(ORDER_DEADLINE, gateway.tell(&order)).await;
            }
        }
    }
}
