//! `BaseTokenAPI` and `JSONTokenApi`: targets, and policies, from an HTTP service.

use std::time::Duration;

use bytes::Bytes;
use common::ipc::lookup::{ApiAnswer, ApiLookup};
use common::json;
use common::tokens::address;
use common::tokens::nested::NestedPolicy;
use data_encoding::BASE64;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::error::LookupError;
use super::found::Found;
use crate::connector::endpoint::Endpoint;
use crate::connector::http::{Client, HttpError, ServiceAnswer};

/// All characters but the unreserved ones (RFC 3986 section 2.3): whatever a token contains, it stays one
/// path segment or one query value.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Maximum number of redirects for one token.
const MAX_REDIRECTS: usize = 5;

/// A service with one URL for each token.
pub(in crate::connector) struct Api {
    client: Client,
    before: String,
    after: String,
    authorization: Option<HeaderValue>,
    scheme: &'static str,
    kind: ApiAnswer,
}

/// The reason why the service provides no target.
#[derive(Debug, thiserror::Error)]
enum ApiLookupError {
    /// The request has failed.
    #[error("the token API can't be queried: {0}")]
    Http(#[from] HttpError),
    /// The service answers with an unexpected status.
    #[error("the token API returned status {0}")]
    Status(StatusCode),
    /// The answer has the wrong form.
    #[error("the token API's answer is not a {0}")]
    Content(&'static str),
    /// The service redirects to another service, or too often.
    #[error("the token API redirects to another service, or too often")]
    Redirect,
    /// The token does not fit into a URL, for instance because it has several KiB.
    #[error("the token does not fit into a URL")]
    Url,
}

impl Api {
    /// Creates the lookup through the service at `endpoint`. `deadline` limits each request.
    ///
    /// # Errors
    ///
    /// The setting that can't be used, for the administrator.
    pub(super) fn new(endpoint: Endpoint, lookup: &ApiLookup, deadline: Duration) -> Result<Self, String> {
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| "the URL of the token API has no valid host".to_owned())
        };
        let host = value(&lookup.authority)?;
        let authorization = match &lookup.credentials {
            None => None,
            Some(credentials) => {
                let text = format!("Basic {}", BASE64.encode(credentials.reveal().as_bytes()));
                let mut value = value(&text)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self {
            client: Client::new(endpoint, host, deadline),
            before: lookup.before.reveal().to_owned(),
            after: lookup.after.reveal().to_owned(),
            authorization,
            scheme: if lookup.service.authorities.is_some() { "https" } else { "http" },
            kind: lookup.answer,
        })
    }

    /// Looks up where a token leads, and its policy.
    pub(super) async fn lookup(&self, token: &str) -> Result<Found, LookupError> {
        match self.answer(token).await {
            Ok(Some(Answer { pair, policy })) => {
                let target = pair.map(|(host, port)| address::of_pair(&host, &port)).transpose()?;
                Ok(Found::in_json(target, policy)?)
            }
            Ok(None) => Err(LookupError::NotFound),
            Err(error) => Err(LookupError::Failed(error.to_string())),
        }
    }

    /// Asks about a token. Returns `None` if the service knows no such token.
    async fn answer(&self, token: &str) -> Result<Option<Answer>, ApiLookupError> {
        let token = match token {
            // Dot segments would be removed when the URL is parsed.
            "." => "%2E".to_owned(),
            ".." => "%2E%2E".to_owned(),
            _ => utf8_percent_encode(token, RESERVED).to_string(),
        };
        let mut path = format!("{}{token}{}", self.before, self.after);
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.client.ask(self.request(&path)?).await?;
            match answer.status.as_u16() {
                200..=299 => return Answer::read(self.kind, &answer.body).map(Some),
                301..=303 | 307 | 308 => path = self.redirected(&answer)?,
                400..=499 => return Ok(None),
                _ => return Err(ApiLookupError::Status(answer.status)),
            }
        }
        Err(ApiLookupError::Redirect)
    }

    fn request(&self, path: &str) -> Result<Request<Full<Bytes>>, ApiLookupError> {
        let mut request = Request::get(path).header(ACCEPT, "*/*").header(USER_AGENT, "websockify");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(Full::new(Bytes::new())).map_err(|_| ApiLookupError::Url)
    }

    /// The path of a redirect within the service. A redirect to another service would disclose the token to
    /// it.
    fn redirected(&self, answer: &ServiceAnswer) -> Result<String, ApiLookupError> {
        let location = answer.headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let uri: Uri = location.and_then(|text| text.parse().ok()).ok_or(ApiLookupError::Redirect)?;
        let is_same = match (uri.scheme_str(), uri.authority()) {
            (None, None) => true,
            (Some(scheme), Some(authority)) => {
                scheme == self.scheme && self.client.host() == authority.as_str()
            }
            _ => false,
        };
        let path = uri.path_and_query().filter(|path| is_same && path.as_str().starts_with('/'));
        path.map(|path| path.as_str().to_owned()).ok_or(ApiLookupError::Redirect)
    }
}

/// What a service says of a token.
#[derive(Debug)]
struct Answer {
    /// Host and port of the target.
    pair: Option<(String, String)>,
    policy: Option<NestedPolicy>,
}

impl Answer {
    fn read(kind: ApiAnswer, body: &[u8]) -> Result<Self, ApiLookupError> {
        match kind {
            ApiAnswer::Text => Self::text(body).ok_or(ApiLookupError::Content("host:port")),
            ApiAnswer::Json => Self::json(body).ok_or(ApiLookupError::Content(
                "JSON object with a \"host\" and a \"port\", or with a \"policy\" that has a \"target\"",
            )),
        }
    }

    fn text(body: &[u8]) -> Option<Self> {
        let (host, port) = std::str::from_utf8(body).ok()?.trim().rsplit_once(':')?;
        Some(Self { pair: Some((host.to_owned(), port.to_owned())), policy: None })
    }

    fn json(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Members {
            host: Option<String>,
            port: Option<Port>,
            policy: Option<NestedPolicy>,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Port {
            Number(u64),
            Text(String),
        }
        let Members { host, port, policy } = json::object(body).ok()?;
        let port = port.map(|port| match port {
            Port::Number(port) => port.to_string(),
            Port::Text(port) => port,
        });
        let pair = host.zip(port);
        let has_target = pair.is_some() || policy.as_ref().is_some_and(NestedPolicy::has_target);
        has_target.then_some(Self { pair, policy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(host: &str, port: &str) -> Option<(String, String)> {
        Some((host.to_owned(), port.to_owned()))
    }

    #[test]
    fn a_text_is_host_and_port() {
        let text = |body| Answer::text(body).and_then(|answer| answer.pair);
        assert_eq!(text(b"host:5900\n"), pair("host", "5900"));
        assert_eq!(text(b"::1:5900"), pair("::1", "5900"));
        assert_eq!(text(b"host"), None);
        assert_eq!(text(b"\xff:1"), None);
    }

    #[test]
    fn a_json_answer_has_a_host_and_a_port_or_a_policy_with_a_target() {
        let json =
            |body: &str| Answer::json(body.as_bytes()).map(|answer| (answer.pair, answer.policy.is_some()));
        assert_eq!(json(r#"{"host":"h","port":5900,"x":[]}"#), Some((pair("h", "5900"), false)));
        assert_eq!(json(r#"{"host":"h","port":"5900","policy":null}"#), Some((pair("h", "5900"), false)));
        assert_eq!(json(r#"{"host":"h","port":5900,"policy":{}}"#), Some((pair("h", "5900"), true)));
        assert_eq!(json(r#"{"policy":{"target":"h:1"}}"#), Some((None, true)));
        for wrong in [
            "",
            "h:1",
            "[]",
            r#"["h",5900]"#,
            r#"{"host":"h"}"#,
            r#"{"host":1,"port":1}"#,
            r#"{"host":"h","port":-1}"#,
            r#"{"host":null,"port":1}"#,
            r#"{"policy":{}}"#,
            r#"{"host":"h","policy":{"uses":1}}"#,
            r#"{"host":"h","port":1,"policy":"x"}"#,
            r#"{"host":"h","port":1,"policy":[]}"#,
        ] {
            assert_eq!(json(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_stays_one_segment() {
        let encoded = |token| utf8_percent_encode(token, RESERVED).to_string();
        assert_eq!(encoded("a-b_c.d~1"), "a-b_c.d~1");
        assert_eq!(encoded("../x?y=z&a#b%2f é+"), "..%2Fx%3Fy%3Dz%26a%23b%252f%20%C3%A9%2B");
    }
}
