//! Uses of tokens that connectors reserve for their connections before they dial.

use std::time::{SystemTime, UNIX_EPOCH};

use common::ipc::ConnectionId;
use common::ipc::uses::{Reservation, UseLimits};

use super::Connections;
use crate::os::clock;

impl Connections {
    /// The connector of `generation` reserves a use of a token for a connection. Returns the answer, which is the same if
    /// it asks again; `None` if it can't ask this.
    pub(crate) fn reserve(
        &mut self,
        id: ConnectionId,
        generation: u32,
        token: &str,
        limits: &UseLimits,
    ) -> Option<Reservation> {
        let now = clock::now();
        let entry = match self.entries.get_mut(&id) {
            None if id.0 > self.last => return None,
            Some(entry) if entry.facts.generation != generation => return None,
            Some(entry) if entry.state.may_have_target() => entry,
            _ => return Some(Reservation::Over),
        };
        if self.barred.contains(token) {
            return Some(Reservation::Revoked);
        }
        if !limits.is_counted() {
            return Some(Reservation::Granted { lifetime: limits.lifetime });
        }
        if let Some(held) = &entry.facts.held {
            return (held.token == token).then(|| held.granted(now));
        }
        let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Some(match self.uses.reserve(token, limits, now, today) {
            Ok(held) => entry.facts.held.insert(Box::new(held)).granted(now),
            Err(refused) => refused,
        })
    }

    /// The connector of `generation` gives the reservation of a connection back.
    pub(crate) fn release(&mut self, id: ConnectionId, generation: u32) {
        let entry = self.entries.get_mut(&id);
        let entry = entry.filter(|one| one.facts.generation == generation && !one.state.is_session());
        if let Some(held) = entry.and_then(|entry| entry.facts.held.take()) {
            self.uses.release(*held);
        }
    }
}
