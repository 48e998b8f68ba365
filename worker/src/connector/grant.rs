//! The permissions of a client so far.

use std::time::{Duration, SystemTime};

use common::config::ProxyProtocol;
use common::ipc::admission::SessionTerms;
use common::ipc::uses::UseLimits;
use common::tokens::policy::TokenPolicy;

/// What the plugins that have accepted the client, and the policy of its token, say about its session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grant {
    /// The user, if one is known.
    pub(super) user: Option<String>,
    /// Terms of the session that its gateway enforces.
    pub(super) terms: SessionTerms,
    /// How the target is told of the client, if the token says that.
    pub(super) proxy_protocol: Option<ProxyProtocol>,
    /// What tells the token from others, if that is not the token as the client has sent it.
    pub(super) identity: Option<String>,
    /// What the supervisor counts of the token, if anything.
    pub(super) limits: Option<UseLimits>,
    /// When the token expires, in seconds since 1970, if it does.
    pub(super) expires: Option<u64>,
}

impl Grant {
    /// Sets the user, if one is given. The last plugin that names a user wins.
    pub(super) fn name(&mut self, user: Option<String>) {
        self.user = user.or(self.user.take());
    }

    /// Limits the duration of the session. The shortest limit wins.
    pub(super) fn limit(&mut self, lifetime: Option<Duration>) {
        self.terms.lifetime = self.terms.lifetime.into_iter().chain(lifetime).min();
    }

    /// Takes the terms of a token's policy, for a session that begins at the time `now`.
    pub(super) fn take(&mut self, policy: &TokenPolicy, now: SystemTime) {
        self.name(policy.user.clone());
        self.limit(policy.longest(now));
        (self.terms.idle, self.terms.record) = (policy.idle, policy.record);
        self.proxy_protocol = policy.proxy_protocol;
        self.limits = policy.limits(self.terms.lifetime);
        self.expires = policy.last();
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
        assert_eq!(grant.terms.lifetime, Some(Duration::from_secs(3)));
    }
}
