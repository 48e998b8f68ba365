//! Ends sessions whose tokens no longer allow them: `TokenTable` is looked at again while there are sessions, and an
//! administrator revokes tokens.

use std::rc::Rc;
use std::time::Duration;

use common::control::{self, Revocation};
use common::ipc::connector::SupervisorToConnector;
use common::ipc::gateway::EndCause;
use common::ipc::{ConnectionId, GatewayId};
use common::log::Escaped;
use common::tokens::policy::Ongoing;
use tokio::time::sleep;

use super::generation::Generation;
use super::intake::Intake;
use crate::state::connections::MAX_BARRED;

/// Interval at which the files are looked at. A change is in force within a second.
const INTERVAL: Duration = Duration::from_millis(400);

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
        let revoked = {
            let connections = self.scope.state.connections.borrow();
            connections.sessions_where(self.number, ids, |token, session| {
                let is_revoked = |token| connections.is_barred(token) || !self.allows(token, session);
                token.is_some_and(is_revoked)
            })
        };
        self.end_those(revoked).await;
    }

    /// Ends the sessions among these connections of which the connector says that their tokens no longer allow them.
    pub(super) async fn end_revoked(&self, ids: &[ConnectionId]) {
        let revoked = self.scope.state.connections.borrow().sessions_where(self.number, ids, |_, _| true);
        self.end_those(revoked).await;
    }

    async fn end_those(&self, revoked: Vec<(GatewayId, ConnectionId)>) {
        if !revoked.is_empty() {
            tracing::info!("ending {} sessions whose tokens no longer allow them", revoked.len());
        }
        self.end_sessions(revoked, EndCause::Revoked).await;
    }

    /// Whether the files of tokens allow a session.
    fn allows(&self, token: &str, session: &Ongoing<'_>) -> bool {
        !self.tokens.can_revoke() || self.tokens.allows(token, session)
    }
}

/// Revokes sessions and tokens at the request of an administrator, for all generations.
///
/// # Errors
///
/// What could not be revoked, for the administrator.
pub(crate) async fn revoke(intake: &Intake, which: &Revocation) -> Result<control::Revoked, String> {
    let state = &intake.state;
    let generations = intake.generations.all();
    let token = match which {
        Revocation::Token { hash, signed } => {
            let key = state.token_key().map_err(|error| error.to_string())?;
            let are_signed = generations.iter().any(|one| one.has_signed_tokens());
            let hash = signed.as_ref().filter(|_| are_signed).unwrap_or(hash);
            Some(hash.fingerprint(&key))
        }
        Revocation::Session { .. } | Revocation::User(_) | Revocation::All => None,
    };
    let revoked = {
        let mut connections = state.connections.borrow_mut();
        let run = connections.run().number();
        connections.revoke(token, |id, opening| match which {
            Revocation::Session { number, run: of } => id.0 == *number && of.is_none_or(|of| of == run),
            Revocation::User(user) => opening.user.as_deref() == Some(&*Escaped(user).to_string()),
            Revocation::Token { .. } => false,
            Revocation::All => true,
        })
    };
    let sessions = revoked.sessions.values().map(Vec::len).sum();
    match which {
        Revocation::Session { number, .. } if sessions == 0 => {
            return Err(format!("there is no session {number}"));
        }
        Revocation::User(user) if sessions == 0 => return Err(format!("{user} has no session")),
        _ => {}
    }
    tracing::info!("an administrator revokes {} tokens and ends {sessions} sessions", revoked.barred);
    // Connectors first, so that nobody comes back.
    for generation in &generations {
        generation.tell_connector(Ok(Some(SupervisorToConnector::ReserveAll))).await;
    }
    for generation in &generations {
        let sessions = revoked.sessions.get(&generation.number).cloned().unwrap_or_default();
        generation.end_sessions(sessions, EndCause::Revoked).await;
    }
    match revoked.not_barred {
        0 => Ok(control::Revoked { sessions, tokens: revoked.barred }),
        count => Err(format!(
            "{sessions} sessions are being closed, but {count} of their tokens stay good: {MAX_BARRED} are revoked already"
        )),
    }
}
