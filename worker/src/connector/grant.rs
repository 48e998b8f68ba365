//! What a client has been granted so far.

use std::time::Duration;

/// What the plugins that were passed say about the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grant {
    /// The user that the client has proved to be.
    pub(super) user: Option<String>,
    /// How long its session may last; without end if absent.
    pub(super) lifetime: Option<Duration>,
}

impl Grant {
    /// Sets the user, if there is one; the last plugin that names one counts.
    pub(super) fn name(&mut self, user: Option<String>) {
        self.user = user.or(self.user.take());
    }

    /// Limits the session's lifetime; the shortest limit counts.
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
