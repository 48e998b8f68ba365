//! What a plugin answers.

use std::time::{SystemTime, UNIX_EPOCH};

use common::addr::TargetAddr;
use serde::Deserialize;

/// The longest reason that is repeated in the log, bytes.
const MAX_REASON: usize = 200;

/// An answer that makes sense.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::connector) enum Answer {
    /// Where the client may go.
    Target(TargetAddr),
    /// The client is refused; why, for the log.
    Refused(String),
}

/// Why an answer makes none. It says nothing of the answer's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::connector) enum AnswerError {
    /// Not the JSON object of `docs/plugins.md`.
    #[error("its answer is not the JSON object that it should be")]
    Form,
    /// Neither a target nor a refusal.
    #[error("its answer has neither \"target\" nor \"refuse\"")]
    Neither,
    /// What `target` says is none.
    #[error("its answer's \"target\" is neither host:port nor unix:/path")]
    Target,
    /// The plugin's own word that something is wrong.
    #[error("it says that it failed")]
    Failed,
}

/// An answer as it is written.
#[derive(Deserialize)]
pub(super) struct Written {
    target: Option<String>,
    refuse: Option<String>,
    error: Option<String>,
    expires: Option<f64>,
}

impl Written {
    /// The number of the question that a line answers.
    pub(super) fn id(text: &[u8]) -> Option<u64> {
        #[derive(Deserialize)]
        struct Envelope {
            id: u64,
        }
        serde_json::from_slice(text).ok().map(|Envelope { id }| id)
    }

    /// Reads one line, or one body.
    pub(super) fn read(text: &[u8]) -> Result<Self, AnswerError> {
        serde_json::from_slice(text).map_err(|_| AnswerError::Form)
    }

    /// What it means at this time.
    pub(super) fn at(self, now: SystemTime) -> Result<Answer, AnswerError> {
        if self.error.is_some() {
            return Err(AnswerError::Failed);
        }
        if let Some(reason) = self.refuse {
            return Ok(Answer::Refused(bounded(reason)));
        }
        let target = target(&self.target.ok_or(AnswerError::Neither)?)?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        if self.expires.is_some_and(|expires| expires <= now) {
            return Ok(Answer::Refused("it has expired".to_owned()));
        }
        Ok(Answer::Target(target))
    }
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

    fn read(text: &str) -> Result<Answer, AnswerError> {
        Written::read(text.as_bytes())?.at(UNIX_EPOCH + Duration::from_secs(1000))
    }

    fn to(address: &str) -> Result<Answer, AnswerError> {
        target(address).map(Answer::Target)
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
        let refused = |reason: &str| Ok(Answer::Refused(reason.to_owned()));
        assert_eq!(read(r#"{"refuse":"no"}"#), refused("no"));
        assert_eq!(read(r#"{"refuse":"no","target":"h:1"}"#), refused("no"));
        assert_eq!(read(&format!(r#"{{"refuse":"{}"}}"#, "é".repeat(500))), refused(&"é".repeat(100)));
    }

    #[test]
    fn who_says_neither_yes_nor_no_has_said_nothing() {
        for text in ["{}", r#"{"target":null}"#, r#"{"id":1}"#] {
            assert_eq!(read(text), Err(AnswerError::Neither), "{text}");
        }
        for text in ["", "[]", "true", r#"{"target":1}"#, r#"{"refuse":1}"#] {
            assert_eq!(read(text), Err(AnswerError::Form), "{text}");
        }
        assert_eq!(read(r#"{"error":"x","target":"h:1"}"#), Err(AnswerError::Failed));
    }

    #[test]
    fn what_has_expired_is_refused() {
        assert_eq!(read(r#"{"target":"h:1","expires":1000.5}"#), to("h:1"));
        assert!(matches!(read(r#"{"target":"h:1","expires":1000}"#), Ok(Answer::Refused(_))));
    }

    proptest! {
        #[test]
        fn no_answer_makes_a_panic(answer in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Written::read(&answer).and_then(|written| written.at(SystemTime::now()));
        }
    }
}
