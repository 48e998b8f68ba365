//! Revocation of tokens and sessions by an administrator.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use common::ipc::{ConnectionId, GatewayId};

use super::Connections;
use crate::state::session::Opening;

/// The effect of revoking tokens.
#[derive(Debug, Default)]
pub(crate) struct Revoked {
    /// The sessions to end, by generation.
    pub(crate) sessions: BTreeMap<u32, Vec<(GatewayId, ConnectionId)>>,
    /// Number of tokens that are barred.
    pub(crate) barred: usize,
    /// Number of tokens for which there was no room.
    pub(crate) not_barred: usize,
}

impl Connections {
    /// Bars the tokens of the sessions for which `is_meant` holds, and `token`. Returns the sessions of all these tokens
    /// and those that are meant.
    pub(crate) fn revoke(
        &mut self,
        token: Option<String>,
        is_meant: impl Fn(ConnectionId, &Opening) -> bool,
    ) -> Revoked {
        let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let sessions = || self.entries.iter().filter(|(_, one)| one.state.is_session());
        let openings = sessions().filter_map(|(id, one)| Some((*id, &one.facts.session.as_ref()?.opening)));
        let meant: Vec<_> = openings.filter(|(id, opening)| is_meant(*id, opening)).collect();
        let mut tokens: BTreeMap<String, Option<u64>> =
            meant.iter().filter_map(|(_, opening)| Some((opening.token.clone()?, opening.expires))).collect();
        if let Some(token) = token {
            tokens.entry(token).or_default();
        }
        let meant: BTreeSet<_> = meant.into_iter().map(|(id, _)| id).collect();
        let mut revoked = Revoked::default();
        for (token, expires) in &tokens {
            match self.barred.bar(token, *expires, today) {
                true => revoked.barred += 1,
                false => revoked.not_barred += 1,
            }
        }
        for (id, one) in self.entries.iter().filter(|(_, one)| one.state.is_session()) {
            let (Some(gateway), Some(session)) = (one.state.gateway(), &one.facts.session) else { continue };
            let token = session.opening.token.as_ref();
            if meant.contains(id) || token.is_some_and(|token| tokens.contains_key(token)) {
                revoked.sessions.entry(one.facts.generation).or_default().push((gateway, *id));
            }
        }
        revoked
    }

    /// Whether any token is barred.
    pub(crate) fn any_barred(&self) -> bool {
        !self.barred.is_empty()
    }

    /// Whether the token with this keyed hash is barred.
    pub(crate) fn is_barred(&self, token: &str) -> bool {
        self.barred.contains(token)
    }
}
