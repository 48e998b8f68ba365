//! Ends sessions: orders their gateways to do so, and sees to it that they do.

use std::collections::BTreeMap;
use std::time::Duration;

use common::ipc::gateway::{EndCause, MAX_ENDED, SupervisorToGateway};
use common::ipc::{ConnectionId, GatewayId};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::generation::Generation;
use super::overtime;

/// Time limit for a gateway to read an order. One that does not read counts as hung elsewhere.
const ORDER_DEADLINE: Duration = Duration::from_secs(5);

impl Generation {
    /// Ends those of these connections that are sessions of this generation.
    pub(crate) async fn end_sessions_among(&self, ids: &[ConnectionId], cause: EndCause) {
        let sessions = self.scope.state.connections.borrow().sessions_where(self.number, ids, |_, _| true);
        self.end_sessions(sessions, cause).await;
    }

    /// Ends these sessions, given with their gateways.
    pub(super) async fn end_sessions(&self, sessions: Vec<(GatewayId, ConnectionId)>, cause: EndCause) {
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
        // Side by side, as a gateway that does not read must not delay the others.
        let mut telling = JoinSet::new();
        for gateway in self.pool.all() {
            let Some(ids) = orders.remove(&gateway.id) else { continue };
            telling.spawn_local(async move {
                for ids in ids.chunks(MAX_ENDED) {
                    let order = SupervisorToGateway::End { ids: ids.to_vec(), cause };
                    // One that is gone has no sessions, and one that does not read is killed when their time is over.
                    let _ = timeout(ORDER_DEADLINE, gateway.tell(&order)).await;
                }
            });
        }
        telling.join_all().await;
    }
}
