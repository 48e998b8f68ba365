//! The sessions whose tokens are asked about again.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use common::ipc::admission::ClientFacts;
use common::ipc::{ClientAddr, ConnectionId};
use common::tokens::policy::Ongoing;
use tokio::sync::Notify;

use super::client_request::{ClientRequest, RequestKind};
use super::grant::Grant;
use super::token::Found;

/// Maximum number of sessions that are remembered. Tokens of further sessions are not asked about again.
const MAX_SESSIONS: usize = 1 << 16;

/// All sessions that were admitted by a token and may be open.
#[derive(Default)]
pub(super) struct AdmittedSessions {
    sessions: RefCell<HashMap<ConnectionId, Rc<Admitted>>>,
    /// Notified when a session begins.
    begun: Notify,
}

/// What is known of a session. It holds the token, which is in no log.
pub(super) struct Admitted {
    /// Keyed hash of the token.
    pub(super) token: String,
    pub(super) client: ClientAddr,
    pub(super) proxy: Option<ClientAddr>,
    /// What the source is asked about.
    pub(super) facts: ClientFacts,
    /// The target that was connected.
    pub(super) target: String,
    pub(super) user: Option<String>,
    pub(super) is_recorded: bool,
    pub(super) began: Instant,
}

impl AdmittedSessions {
    /// Remembers a session that begins.
    pub(super) fn add(&self, id: ConnectionId, admitted: Admitted) {
        let mut sessions = self.sessions.borrow_mut();
        if sessions.len() < MAX_SESSIONS {
            sessions.insert(id, Rc::new(admitted));
            self.begun.notify_one();
        }
    }

    /// Forgets sessions that have ended.
    pub(super) fn remove(&self, ids: &[ConnectionId]) {
        let mut sessions = self.sessions.borrow_mut();
        for id in ids {
            sessions.remove(id);
        }
        if sessions.is_empty() {
            sessions.shrink_to_fit();
        }
    }

    /// Waits until there are sessions.
    pub(super) async fn any(&self) {
        while self.sessions.borrow().is_empty() {
            self.begun.notified().await;
        }
    }

    /// The sessions.
    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        self.sessions.borrow().keys().copied().collect()
    }

    /// The sessions of each token, oldest first.
    pub(super) fn by_token(&self) -> Vec<Vec<(ConnectionId, Rc<Admitted>)>> {
        let mut tokens: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (id, admitted) in &*self.sessions.borrow() {
            tokens.entry(admitted.token.clone()).or_default().push((*id, admitted.clone()));
        }
        let mut tokens: Vec<_> = tokens.into_values().collect();
        for sessions in &mut tokens {
            sessions.sort_by_key(|(id, _)| *id);
        }
        tokens
    }
}

impl Admitted {
    /// The request by which the session was admitted.
    pub(super) fn request(&self) -> ClientRequest<'_> {
        let Self { client, proxy, facts, .. } = self;
        ClientRequest { client, proxy: proxy.as_ref(), facts, kind: RequestKind::Session }
    }

    /// What the client had been granted before its token was looked up.
    pub(super) fn grant(&self) -> Grant {
        Grant { user: self.user.clone(), ..Grant::default() }
    }

    /// Whether a token that leads to what was found allows the session.
    pub(super) fn is_allowed_by(&self, found: &Found) -> bool {
        let leads_there = found.targets.iter().any(|target| target.to_string() == self.target);
        leads_there
            && found.policy.as_ref().is_none_or(|policy| {
                let ongoing = Ongoing {
                    target: &self.target,
                    client: &self.client,
                    user: self.user.as_deref(),
                    is_recorded: self.is_recorded,
                    age: self.began.elapsed(),
                };
                policy.allows(&ongoing, SystemTime::now())
            })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use common::addr::TargetAddr;
    use common::tokens::table;

    use super::*;
    use crate::connector::target::Target;

    fn admitted(token: &str, age: u64) -> Admitted {
        Admitted {
            token: token.into(),
            client: ClientAddr::Ip(([192, 0, 2, 1], 1).into()),
            proxy: None,
            facts: ClientFacts::default(),
            target: "h:1".into(),
            user: Some("alice".into()),
            is_recorded: false,
            began: Instant::now().checked_sub(Duration::from_secs(age)).unwrap(),
        }
    }

    #[test]
    fn sessions_are_listed_by_token_until_they_have_ended() {
        let sessions = AdmittedSessions::default();
        for (id, token) in [(3, "a"), (1, "b"), (2, "a")] {
            sessions.add(ConnectionId(id), admitted(token, 0));
        }
        let ids = || -> Vec<Vec<_>> {
            let ids = |one: Vec<(ConnectionId, _)>| one.into_iter().map(|(id, _)| id.0).collect();
            sessions.by_token().into_iter().map(ids).collect()
        };
        assert_eq!(ids(), [vec![2, 3], vec![1]]);
        sessions.remove(&[ConnectionId(1), ConnectionId(3)]);
        assert_eq!(ids(), [vec![2]]);
    }

    #[test]
    fn a_session_goes_on_while_its_token_leads_there_and_its_policy_allows_it() {
        let found = |target: &str, policy: Option<&str>| {
            let address = TargetAddr::parse_tcp(target).unwrap();
            let policy = policy.map(|text| {
                let text = format!("[tokens.a]\ntarget = \"{target}\"\n{text}");
                let tokens = table::parse(text.as_bytes(), Path::new("t.toml")).unwrap();
                Rc::new(tokens.into_values().next().unwrap())
            });
            Found { policy, ..Target::Address(address).into() }
        };
        for (found, allows) in [
            (found("h:1", None), true),
            (found("h:2", None), false),
            (found("h:1", Some("lifetime = \"1h\"")), true),
            (found("h:1", Some("lifetime = \"5s\"")), false),
            (found("h:1", Some("user = \"bob\"")), false),
            (found("h:1", Some("expires = 1")), true),
        ] {
            assert_eq!(admitted("a", 10).is_allowed_by(&found), allows);
        }
    }
}
