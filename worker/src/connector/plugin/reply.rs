//! Responses that plugins demand for refused clients: status, reason phrase and header fields.

use std::collections::BTreeMap;

use common::config::Secret;
use common::ipc::admission::{Header, Reply};
use hyper::ext::ReasonPhrase;
use hyper::header::{HeaderName, HeaderValue};

use super::answer::AnswerError;

/// Default status of a refusal.
const FORBIDDEN: u16 = 403;

/// Header fields that the gateway sets itself, about the connection, the body and the server. A plugin's
/// values are ignored.
const OURS: [&str; 9] = [
    "connection",
    "date",
    "keep-alive",
    "proxy-connection",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Builds the response from the fields of an answer. Returns `None` if they demand none.
///
/// # Errors
///
/// Fails if the response can't be sent. The answer as a whole is invalid then.
pub(super) fn read(
    status: Option<u16>,
    message: Option<String>,
    headers: BTreeMap<String, String>,
) -> Result<Option<Reply>, AnswerError> {
    if (status, &message, headers.is_empty()) == (None, &None, true) {
        return Ok(None);
    }
    let status = status.unwrap_or(FORBIDDEN);
    if !Reply::STATUSES.contains(&status) {
        return Err(AnswerError::Reply("\"status\""));
    }
    if message
        .as_ref()
        .is_some_and(|text| !text.is_ascii() || ReasonPhrase::try_from(text.as_bytes()).is_err())
    {
        return Err(AnswerError::Reply("\"message\""));
    }
    let headers: Result<Vec<_>, _> =
        headers.iter().filter_map(|(name, value)| field(name, value).transpose()).collect();
    let headers = headers?;
    let length = message.as_ref().map_or(0, String::len)
        + headers.iter().map(|field| field.name.len() + field.value.reveal().len()).sum::<usize>();
    if headers.len() > Reply::MAX_FIELDS || length > Reply::MAX_BYTES {
        return Err(AnswerError::Reply("\"headers\""));
    }
    Ok(Some(Reply { status, reason: message.filter(|text| !text.is_empty()), headers }))
}

/// Validates a header field. Returns `None` if the gateway sets it itself.
fn field(name: &str, value: &str) -> Result<Option<Header>, AnswerError> {
    let wrong = AnswerError::Reply("\"headers\"");
    let name = HeaderName::try_from(name).map_err(|_| wrong)?.as_str().to_owned();
    if !value.is_ascii() || HeaderValue::from_str(value).is_err() {
        return Err(wrong);
    }
    if OURS.contains(&name.as_str()) || name.starts_with("content-") || name.starts_with("sec-websocket-") {
        return Ok(None);
    }
    Ok(Some(Header { name, value: Secret::new(value.to_owned()) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(
        status: Option<u16>,
        message: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<Option<Reply>, AnswerError> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        read(status, message.map(str::to_owned), headers.collect())
    }

    #[test]
    fn a_response_may_challenge_or_redirect() {
        assert_eq!(reply(None, None, &[]), Ok(None));
        let asks = reply(Some(401), Some("Who are you?"), &[("WWW-Authenticate", "Basic realm=\"x\"")]);
        let asks = asks.unwrap().unwrap();
        assert_eq!((asks.status, asks.reason.as_deref()), (401, Some("Who are you?")));
        assert_eq!(asks.headers[0].name, "www-authenticate");
        assert_eq!(asks.headers[0].value.reveal(), "Basic realm=\"x\"");
        let leads = reply(Some(302), None, &[("Location", "/login")]).unwrap().unwrap();
        assert_eq!((leads.status, leads.reason, leads.headers.len()), (302, None, 1));
        assert_eq!(reply(None, Some("No"), &[]).unwrap().unwrap().status, 403);
    }

    #[test]
    fn a_response_that_can_not_be_sent_is_invalid() {
        for status in [0, 101, 200, 299, 600, 1000] {
            assert!(reply(Some(status), None, &[]).is_err(), "{status}");
        }
        for message in ["a\r\nSet-Cookie: x", "a\0", "ä", &"x".repeat(Reply::MAX_BYTES + 1)] {
            assert!(reply(None, Some(message), &[]).is_err(), "{message:?}");
        }
        let long = "x".repeat(Reply::MAX_BYTES);
        for field in [("", "x"), ("a b", "x"), ("a:", "x"), ("a", "b\r\nc: d"), ("a", "ä"), ("a", &long)] {
            assert!(reply(None, None, &[field]).is_err(), "{field:?}");
        }
        let names: Vec<_> = (0..=Reply::MAX_FIELDS).map(|number| format!("x-{number}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
        assert!(reply(None, None, &many).is_err());
    }

    #[test]
    fn fields_of_the_connection_and_the_body_are_left_out() {
        let fields =
            [("Connection", "keep-alive"), ("Content-Length", "7"), ("TRANSFER-ENCODING", "chunked")];
        assert_eq!(reply(None, None, &fields).unwrap().unwrap().headers, []);
    }
}
