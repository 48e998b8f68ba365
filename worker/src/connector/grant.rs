//! The permissions of a client so far.

use std::time::Duration;

/// What the plugins that have accepted the client say about its session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grant {
    /// Maximum duration of the session; `None` for unlimited.
    pub(super) user: Option<String>,
    /// Longest duration of the session; unlimited if absent.
    pub(super) lifetime: Option<Duration>,
}

impl Grant {
    /// Sets the user, if one is given. The last plugin that names a user wins.
    pub(super) fn name(&mut self, user: Option<String>) {
        self.user = user.or(self.user.take());
    }

    /// Limits the duration of the session. The shortest limit wins.
    pub(super) fn limit(&mut self, lifetime: Option<Duration>) {
        self.lifetime = self.lifetime.into_iter().chain(lifetime).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_and_the_shortest_lifetime_count() {
        let mut grant = Grant::default();
        for (user, seconds) in [(None, None), (Some("a"), Some(9)), (None, Some(3)), (Some("b"), Some(5))] {
            grant.name(user.map(str::to_owned));
            grant.limit(seconds.map(Duration::from_secs));
        }
        assert_eq!(grant.user.as_deref(), Some("b"));
        assert_eq!(grant.lifetime, Some(Duration::from_secs(3)));
    }
}
