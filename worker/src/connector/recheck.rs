//! Asks again about the tokens of open sessions (`token.recheck`), and tells the supervisor which of them no longer allow
//! their sessions.

use std::rc::Rc;
use std::time::Duration;

use common::ipc::ConnectionId;
use common::ipc::connector::{ConnectorToSupervisor, MAX_RECHECKED};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::admitted::Admitted;
use super::policy::Denied;
use super::state::Connector;
use super::token::LookupError;

/// Number of questions at a time. It is small, so that clients who come meanwhile wait behind few.
const MAX_QUESTIONS: usize = 4;

/// Number of failures in a row after which a round is given up: the source can't be reached.
const MAX_FAILURES: u32 = 4;

/// Asks about each token once in each `interval` while there are sessions.
pub(super) async fn keep_asking(connector: Rc<Connector>, interval: Duration) {
    let mut round = Round { connector, fails: false };
    loop {
        round.connector.admitted.any().await;
        sleep(interval).await;
        if round.run().await.is_none() {
            return;
        }
    }
}

/// One look at all tokens, and how the last one went.
struct Round {
    connector: Rc<Connector>,
    /// Not all tokens could be asked about the last time.
    fails: bool,
}

impl Round {
    /// Returns `None` if the supervisor is gone.
    async fn run(&mut self) -> Option<()> {
        let connector = self.connector.clone();
        // The answer, which are those that have ended, comes while the tokens are asked about. A token whose last session
        // has just ended is asked about once more.
        for ids in connector.admitted.ids().chunks(MAX_RECHECKED) {
            connector.supervisor.send(&ConnectorToSupervisor::WhichEnded(ids.to_vec())).await.ok()?;
        }
        let revoked = self.ask_about_all().await;
        connector.admitted.remove(&revoked);
        for ids in revoked.chunks(MAX_RECHECKED) {
            connector.supervisor.send(&ConnectorToSupervisor::Revoked(ids.to_vec())).await.ok()?;
        }
        Some(())
    }

    /// Asks about each token once. Returns the sessions that their tokens no longer allow.
    async fn ask_about_all(&mut self) -> Vec<ConnectionId> {
        let mut left = self.connector.admitted.by_token().into_iter();
        let (mut asking, mut revoked) = (JoinSet::new(), Vec::new());
        let (mut failures, mut failed) = (0, false);
        loop {
            while asking.len() < MAX_QUESTIONS && failures < MAX_FAILURES {
                let Some(sessions) = left.next() else { break };
                let connector = self.connector.clone();
                asking.spawn_local(async move { ask(&connector, &sessions).await });
            }
            match asking.join_next().await {
                None => break,
                Some(Ok(Ok(ids))) => {
                    failures = 0;
                    revoked.extend(ids);
                }
                Some(Ok(Err(why))) => {
                    (failures, failed) = (failures + 1, true);
                    if !std::mem::replace(&mut self.fails, true) {
                        tracing::warn!(
                            "open sessions continue although their tokens can't be asked about: {why}"
                        );
                    }
                }
                // A fault of our own has ended the process.
                Some(Err(_)) => {}
            }
        }
        if !failed && std::mem::take(&mut self.fails) {
            tracing::info!("the tokens of open sessions can be asked about again");
        }
        revoked
    }
}

/// Asks about the token of these sessions, with the request of the oldest one. Returns those that it no longer allows.
///
/// # Errors
///
/// The reason why nobody can tell.
async fn ask(
    connector: &Connector,
    sessions: &[(ConnectionId, Rc<Admitted>)],
) -> Result<Vec<ConnectionId>, Denied> {
    let Some((_, first)) = sessions.first() else { return Ok(Vec::new()) };
    let found = match connector.policy.lookup(&first.request(), &mut first.grant(), None).await {
        Ok(found) => Some(found),
        Err(Denied::Lookup(LookupError::NotFound | LookupError::Refused(_))) => None,
        Err(why) => return Err(why),
    };
    let is_over = |one: &Admitted| !found.as_ref().is_some_and(|found| one.is_allowed_by(found));
    Ok(sessions.iter().filter(|(_, one)| is_over(one)).map(|(id, _)| *id).collect())
}
