//! Sessions that must end by a certain time. Their gateways end them; a gateway that does not may have been taken over by
//! a client.

use std::collections::BTreeSet;
use std::time::Duration;

use common::ipc::ConnectionId;
use serde::{Deserialize, Serialize};

/// The sessions in the order of their ends, on a clock that counts the time in which the supervisor runs, so that no
/// gateway is blamed if the whole service was stopped for a while.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Overtime {
    clock: Duration,
    ends: BTreeSet<(Duration, ConnectionId)>,
}

impl Overtime {
    /// A session must end within `time`. An earlier end that was noted for it counts on.
    pub(super) fn limit(&mut self, id: ConnectionId, time: Duration) {
        self.ends.insert((self.clock.saturating_add(time), id));
    }

    /// Whether the ends of any sessions are noted.
    pub(super) fn is_needed(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Advances the clock by `time`, and returns the sessions whose end has passed. Their ends are forgotten, and so are
    /// those of sessions that are no longer open.
    pub(super) fn advance(
        &mut self,
        time: Duration,
        is_open: impl Fn(ConnectionId) -> bool,
    ) -> Vec<ConnectionId> {
        self.clock += time;
        let later = self.ends.split_off(&(self.clock, ConnectionId(0)));
        let past = std::mem::replace(&mut self.ends, later);
        past.into_iter().map(|(_, id)| id).filter(|id| is_open(*id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_sessions_are_reported_once_after_their_end() {
        let second = Duration::from_secs(1);
        let mut overtime = Overtime::default();
        overtime.limit(ConnectionId(1), 2 * second);
        overtime.limit(ConnectionId(2), 2 * second);
        overtime.limit(ConnectionId(3), Duration::MAX);
        let is_open = |id: ConnectionId| id != ConnectionId(2);
        assert_eq!(overtime.advance(2 * second, is_open), []);
        assert_eq!(overtime.advance(second, is_open), [ConnectionId(1)]);
        assert_eq!(overtime.advance(second, is_open), []);
        assert!(overtime.is_needed());
    }
}
