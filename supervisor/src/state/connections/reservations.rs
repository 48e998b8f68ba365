//! What connectors reserve for their connections before they dial: uses of tokens, and sessions of targets.

use std::num::NonZeroU32;
use std::time::{SystemTime, UNIX_EPOCH};

use common::ipc::ConnectionId;
use common::ipc::uses::{Reservation, UseLimits};

use super::Connections;
use super::entry::Entry;
use super::targets::Targets;
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

    /// The connector of `generation` gives the reservation of a connection and its claim to a target back.
    pub(crate) fn release(&mut self, id: ConnectionId, generation: u32) {
        let entry = self.entries.get_mut(&id);
        let is_meant = |one: &&mut Entry| one.facts.generation == generation && !one.state.is_session();
        let Some(entry) = entry.filter(is_meant) else { return };
        if let Some(held) = entry.facts.held.take() {
            self.uses.release(*held);
        }
        if let Some(target) = entry.facts.target.take() {
            self.targets.release(&target);
        }
    }

    /// Limits the sessions of each target from now on. Those that there are count.
    pub(crate) fn limit_targets(&mut self, most: Option<NonZeroU32>) {
        if most.is_none() && self.targets.most.is_none() {
            return;
        }
        self.targets = Targets::up_to(most);
        for entry in self.entries.values_mut() {
            let session = entry.facts.session.as_ref().map(|session| session.opening.target.as_str().into());
            entry.facts.target = entry.facts.target.take().or(session).filter(|_| most.is_some());
            if let Some(target) = &entry.facts.target {
                self.targets.add(target);
            }
        }
    }

    /// The connector of `generation` claims a target for a connection. Returns whether the target may have one more
    /// session; `None` if the connector can't ask this.
    pub(crate) fn claim_target(&mut self, id: ConnectionId, generation: u32, target: &str) -> Option<bool> {
        let entry = match self.entries.get_mut(&id) {
            None if id.0 > self.last => return None,
            Some(entry) if entry.facts.generation != generation => return None,
            Some(entry) if entry.state.may_have_target() => entry,
            // The connection has ended meanwhile.
            _ => return Some(false),
        };
        if entry.facts.target.as_deref() == Some(target) {
            return Some(true);
        }
        if let Some(earlier) = entry.facts.target.take() {
            self.targets.release(&earlier);
        }
        let is_free = self.targets.claim(target);
        entry.facts.target = Some(target.into()).filter(|_| is_free && self.targets.most.is_some());
        Some(is_free)
    }
}
