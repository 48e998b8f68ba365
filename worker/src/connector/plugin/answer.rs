//! Answers of external plugins.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::addr::TargetAddr;
use common::ipc::admission::Reply;
use common::json;
use common::tokens::nested::NestedPolicy;
use serde::Deserialize;

use super::reply;

/// Maximum length of a reason in the log, in bytes.
const MAX_REASON: usize = 200;

/// Reason of a refusal because the answer itself has expired.
const EXPIRED: &str = "it has expired";

/// Maximum length of a user name in bytes.
const MAX_USER: usize = 256;

/// Answer to the lookup of a token.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::connector) enum TargetAnswer {
    /// The token leads to this target.
    Target {
        /// The target's address; `None` if the policy has targets of its own.
        address: Option<TargetAddr>,
        /// Maximum duration of the session.
        lifetime: Option<Duration>,
        /// What the token allows, if the plugin says it.
        policy: Option<NestedPolicy>,
    },
    /// The client is refused, for this reason.
    Refused(String),
}

/// Answer to the authentication of a client.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::connector) enum Verdict {
    /// The client is accepted.
    Allowed {
        /// Name of the user, if the plugin knows it.
        user: Option<String>,
        /// Maximum duration of the session.
        lifetime: Option<Duration>,
    },
    /// The client is refused.
    Refused {
        /// The reason, for the log.
        reason: String,
        /// HTTP response, if the plugin demands another one than the default.
        reply: Option<Reply>,
    },
}

/// The reason why an answer is invalid. The text contains nothing of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::connector) enum AnswerError {
    /// Not the JSON object described in `docs/reference/plugins.md`.
    #[error("its answer is not a valid JSON object")]
    Form,
    /// Neither `target` nor `refuse`.
    #[error("its answer has neither \"target\" nor \"refuse\"")]
    NoTarget,
    /// Neither `allow` nor `refuse`.
    #[error("its answer has neither \"allow\" nor \"refuse\"")]
    NoVerdict,
    /// `target` is not an address.
    #[error("its answer's \"target\" is neither host:port nor unix:/path")]
    Target,
    /// `policy` in an answer about an authentication, where it would not be enforced.
    #[error("its answer has a \"policy\", which only answers to \"target\" may have")]
    Policy,
    /// `user` is longer than [`MAX_USER`].
    #[error("its answer's \"user\" is longer than {MAX_USER} bytes")]
    User,
    /// `lifetime` is not a positive number of seconds.
    #[error("its answer's \"lifetime\" is not a number of seconds above 0")]
    Lifetime,
    /// `status`, `message` or `headers` can't be sent in HTTP.
    #[error("its answer's {0} can't be sent to the client")]
    Reply(&'static str),
    /// The plugin itself reports an error.
    #[error("it reports a failure")]
    Failed,
}

/// An answer as received.
#[derive(Deserialize)]
pub(in crate::connector) struct Written {
    target: Option<String>,
    policy: Option<NestedPolicy>,
    allow: Option<bool>,
    user: Option<String>,
    lifetime: Option<f64>,
    expires: Option<f64>,
    refuse: Option<String>,
    status: Option<u16>,
    message: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    error: Option<String>,
}

impl Written {
    /// Parses the number of the question that a line answers.
    pub(super) fn id(text: &[u8]) -> Option<u64> {
        #[derive(Deserialize)]
        struct Envelope {
            id: u64,
        }
        json::object(text).ok().map(|Envelope { id }| id)
    }

    /// Parses a line, or the body of a response.
    pub(super) fn read(text: &[u8]) -> Result<Self, AnswerError> {
        json::object(text).map_err(|_| AnswerError::Form)
    }

    /// The same answer with another reason for the refusal.
    pub(super) fn with_reason(self, change: impl FnOnce(&str) -> String) -> Self {
        Self { refuse: self.refuse.as_deref().map(change), ..self }
    }

    /// Evaluates the answer to a lookup at the time `now`.
    pub(in crate::connector) fn target(self, now: SystemTime) -> Result<TargetAnswer, AnswerError> {
        if self.error.is_some() {
            return Err(AnswerError::Failed);
        }
        let has_expired = self.has_expired(now);
        if let Some(reason) = self.refuse {
            return Ok(TargetAnswer::Refused(bounded(reason)));
        }
        let Self { target: address, policy, lifetime: seconds, .. } = self;
        if address.is_none() && !policy.as_ref().is_some_and(NestedPolicy::has_target) {
            return Err(AnswerError::NoTarget);
        }
        let address = address.as_deref().map(target).transpose()?;
        if has_expired {
            return Ok(TargetAnswer::Refused(EXPIRED.to_owned()));
        }
        Ok(TargetAnswer::Target { address, lifetime: seconds.map(lifetime).transpose()?, policy })
    }

    /// Evaluates the answer to an authentication at the time `now`.
    pub(in crate::connector) fn verdict(self, now: SystemTime) -> Result<Verdict, AnswerError> {
        if self.error.is_some() {
            return Err(AnswerError::Failed);
        }
        let has_expired = self.has_expired(now);
        let Self { allow, policy, user, lifetime: seconds, refuse, status, message, headers, .. } = self;
        match (refuse, allow) {
            (Some(reason), _) => Ok(Verdict::Refused {
                reason: bounded(reason),
                reply: reply::read(status, message, headers.unwrap_or_default())?,
            }),
            (None, Some(true)) if has_expired => {
                Ok(Verdict::Refused { reason: EXPIRED.to_owned(), reply: None })
            }
            (None, Some(true)) if policy.is_some() => Err(AnswerError::Policy),
            (None, Some(true)) if user.as_ref().is_some_and(|user| user.len() > MAX_USER) => {
                Err(AnswerError::User)
            }
            (None, Some(true)) => Ok(Verdict::Allowed { user, lifetime: seconds.map(lifetime).transpose()? }),
            (None, Some(false) | None) => Err(AnswerError::NoVerdict),
        }
    }

    fn has_expired(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.expires.is_some_and(|expires| expires <= now)
    }
}

fn lifetime(seconds: f64) -> Result<Duration, AnswerError> {
    let lifetime = Duration::try_from_secs_f64(seconds).ok().filter(|lifetime| !lifetime.is_zero());
    lifetime.ok_or(AnswerError::Lifetime)
}

fn target(text: &str) -> Result<TargetAddr, AnswerError> {
    match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => Ok(TargetAddr::Unix(path.into())),
        Some(_) => Err(AnswerError::Target),
        None => TargetAddr::parse_tcp(text).map_err(|_| AnswerError::Target),
    }
}

fn bounded(mut text: String) -> String {
    let end = (0..=MAX_REASON).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<TargetAnswer, AnswerError> {
        Written::read(text.as_bytes())?.target(UNIX_EPOCH + Duration::from_secs(1000))
    }

    fn judge(text: &str) -> Result<Verdict, AnswerError> {
        Written::read(text.as_bytes())?.verdict(UNIX_EPOCH + Duration::from_secs(1000))
    }

    fn to(address: &str) -> Result<TargetAnswer, AnswerError> {
        target(address).map(|address| TargetAnswer::Target {
            address: Some(address),
            lifetime: None,
            policy: None,
        })
    }

    #[test]
    fn a_target_is_an_address_or_a_socket() {
        assert_eq!(read(r#"{"target":"h:1"}"#), to("h:1"));
        assert_eq!(read(r#"{"id":7,"target":"[::1]:1","x":0}"#), to("[::1]:1"));
        assert_eq!(read(r#"{"target":"unix:/run/x"}"#), to("unix:/run/x"));
        for wrong in ["", "h", "h:0", "unix:x", "unix:", "unix:@x"] {
            assert_eq!(read(&format!(r#"{{"target":"{wrong}"}}"#)), Err(AnswerError::Target), "{wrong}");
        }
    }

    #[test]
    fn a_refusal_has_a_reason() {
        let refused = |reason: &str| Ok(TargetAnswer::Refused(reason.to_owned()));
        assert_eq!(read(r#"{"refuse":"no"}"#), refused("no"));
        assert_eq!(read(r#"{"refuse":"no","target":"h:1"}"#), refused("no"));
        assert_eq!(read(&format!(r#"{{"refuse":"{}"}}"#, "é".repeat(500))), refused(&"é".repeat(100)));
    }

    #[test]
    fn an_answer_without_a_decision_is_invalid() {
        for text in ["{}", r#"{"target":null}"#, r#"{"id":1}"#] {
            assert_eq!(read(text), Err(AnswerError::NoTarget), "{text}");
        }
        // An array of the fields in the order of their declaration, which serde would accept for a struct.
        let fits = r#"["h:1",null,true,null,null,null,null,null,null,null,null]"#;
        for text in ["", "[]", "true", r#"{"target":1}"#, r#"{"refuse":1}"#, fits] {
            assert_eq!(read(text), Err(AnswerError::Form), "{text}");
            assert_eq!(Written::id(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Written::id(b"[1]"), None);
        assert_eq!(read(r#"{"error":"x","target":"h:1"}"#), Err(AnswerError::Failed));
    }

    #[test]
    fn an_expired_answer_refuses() {
        assert_eq!(read(r#"{"target":"h:1","expires":1000.5}"#), to("h:1"));
        assert!(matches!(read(r#"{"target":"h:1","expires":1000}"#), Ok(TargetAnswer::Refused(_))));
    }

    #[test]
    fn a_session_may_have_a_lifetime() {
        let half = Some(Duration::from_millis(500));
        let address = target("h:1").ok();
        assert_eq!(
            read(r#"{"target":"h:1","lifetime":0.5}"#),
            Ok(TargetAnswer::Target { address, lifetime: half, policy: None })
        );
        assert_eq!(
            judge(r#"{"allow":true,"lifetime":0.5}"#),
            Ok(Verdict::Allowed { user: None, lifetime: half })
        );
        for wrong in ["0", "-1", "1e300"] {
            let wrong = read(&format!(r#"{{"target":"h:1","lifetime":{wrong}}}"#));
            assert_eq!(wrong, Err(AnswerError::Lifetime));
        }
    }

    #[test]
    fn a_token_may_have_a_policy() {
        let has_policy = |text: &str| {
            let TargetAnswer::Target { address, policy, .. } = read(text)? else { panic!("{text}") };
            Ok((address.is_some(), policy.is_some()))
        };
        assert_eq!(has_policy(r#"{"target":"h:1","policy":null}"#), Ok((true, false)));
        assert_eq!(has_policy(r#"{"target":"h:1","policy":{}}"#), Ok((true, true)));
        assert_eq!(has_policy(r#"{"policy":{"target":"h:1"}}"#), Ok((false, true)));
        assert_eq!(has_policy(r#"{"policy":{"uses":1}}"#), Err(AnswerError::NoTarget));
        assert_eq!(has_policy(r#"{"target":"h:1","policy":[]}"#), Err(AnswerError::Form));
        assert_eq!(judge(r#"{"allow":true,"policy":{}}"#), Err(AnswerError::Policy));
    }

    #[test]
    fn a_client_is_accepted_with_or_without_a_user_name() {
        let allowed =
            |user: Option<&str>| Ok(Verdict::Allowed { user: user.map(str::to_owned), lifetime: None });
        assert_eq!(judge(r#"{"allow":true}"#), allowed(None));
        assert_eq!(judge(r#"{"id":1,"allow":true,"user":"ä","x":1}"#), allowed(Some("ä")));
        let long = format!(r#"{{"allow":true,"user":"{}"}}"#, "x".repeat(MAX_USER + 1));
        assert_eq!(judge(&long), Err(AnswerError::User));
        for text in ["{}", r#"{"allow":false}"#, r#"{"target":"h:1"}"#] {
            assert_eq!(judge(text), Err(AnswerError::NoVerdict), "{text}");
        }
        assert_eq!(judge(r#"{"allow":"yes"}"#), Err(AnswerError::Form));
        assert_eq!(judge(r#"{"allow":true,"error":"x"}"#), Err(AnswerError::Failed));
        assert!(matches!(judge(r#"{"allow":true,"expires":1000}"#), Ok(Verdict::Refused { .. })));
    }

    #[test]
    fn a_refusal_takes_precedence_and_may_set_the_response() {
        let refused = |reply| Ok(Verdict::Refused { reason: "no".to_owned(), reply });
        assert_eq!(judge(r#"{"refuse":"no","allow":true}"#), refused(None));
        let reply = Reply { status: 418, reason: None, headers: Vec::new() };
        assert_eq!(judge(r#"{"refuse":"no","status":418}"#), refused(Some(reply)));
        assert_eq!(judge(r#"{"refuse":"no","status":200}"#), Err(AnswerError::Reply("\"status\"")));
    }

    proptest! {
        #[test]
        fn no_answer_panics(answer in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Written::read(&answer).and_then(|written| written.target(SystemTime::now()));
            let _ = Written::read(&answer).and_then(|written| written.verdict(SystemTime::now()));
        }
    }
}
