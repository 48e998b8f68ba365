//! `TokenRedis`: targets and policies stored in Redis under their token.

use std::ops::ControlFlow;
use std::time::Duration;

use common::ipc::lookup::RedisLookup;
use common::json;
use common::tokens::address;
use common::tokens::nested::NestedPolicy;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use super::error::LookupError;
use super::found::Found;
use crate::connector::endpoint::{ConnectError, Endpoint};

/// Maximum length of a value in bytes. Clients choose the key, so a value may be anything.
const MAX_VALUE: usize = 4096;

/// A Redis server.
pub(in crate::connector) struct Redis {
    endpoint: Endpoint,
    login: RedisConnectionInfo,
    /// Prefix of each key.
    prefix: String,
    /// Time limit for a request and its answer.
    deadline: Duration,
    /// The connection that all requests share.
    kept: Mutex<Option<Kept>>,
}

/// A connection and the task that drives it.
struct Kept {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The reason why Redis provides no target.
#[derive(Debug, thiserror::Error)]
enum RedisLookupError {
    /// Redis can't be reached.
    #[error("Redis can't be reached: {0}")]
    Connect(#[from] ConnectError),
    /// Redis rejects the password or the command. Its error message may repeat the token, and is not logged.
    #[error("Redis returned an error: {0}")]
    Refused(String),
    /// The deadline has passed.
    #[error("Redis did not answer in time")]
    TimedOut,
    /// The value is neither a target nor a policy with one.
    #[error(
        "the value in Redis is neither host:port nor {{\"host\": \"host:port\"}}, possibly with a \"policy\""
    )]
    Value,
}

impl From<RedisError> for RedisLookupError {
    fn from(error: RedisError) -> Self {
        let category = error.category();
        Self::Refused(error.code().map_or_else(|| category.to_owned(), |code| format!("{category} ({code})")))
    }
}

impl Redis {
    /// Creates the lookup without a connection. `deadline` limits each request.
    pub(super) fn new(endpoint: Endpoint, lookup: &RedisLookup, deadline: Duration) -> Self {
        let mut login = RedisConnectionInfo::default().set_db(lookup.db).set_skip_set_lib_name();
        if let Some(password) = &lookup.password {
            login = login.set_password(password.reveal());
        }
        let prefix = lookup.namespace.as_ref().map(|namespace| format!("{namespace}:")).unwrap_or_default();
        Self { endpoint, login, prefix, deadline, kept: Mutex::default() }
    }

    /// Looks up where a token leads, and its policy.
    pub(super) async fn lookup(&self, token: &str) -> Result<Found, LookupError> {
        match self.kept_value(token).await {
            Ok(Some(Value { host, policy })) => {
                let target = host.as_deref().map(address::parse).transpose()?;
                Ok(Found::in_json(target, policy)?)
            }
            Ok(None) => Err(LookupError::NotFound),
            Err(error) => Err(LookupError::Failed(error.to_string())),
        }
    }

    /// Returns what is stored under a token, if there is anything.
    async fn kept_value(&self, token: &str) -> Result<Option<Value>, RedisLookupError> {
        let value = match timeout(self.deadline, self.value(token)).await {
            Ok(value) => value?,
            Err(_) => {
                // A late answer must not be taken for that of the next question, so the connection is dropped.
                if let Ok(mut kept) = self.kept.try_lock() {
                    *kept = None;
                }
                return Err(RedisLookupError::TimedOut);
            }
        };
        if value.is_empty() { Ok(None) } else { Value::read(&value).map(Some).ok_or(RedisLookupError::Value) }
    }

    /// Returns the value of a key, empty if there is none. If the server has closed the shared connection
    /// meanwhile, the request is repeated once on a new one.
    async fn value(&self, token: &str) -> Result<Vec<u8>, RedisLookupError> {
        let (connection, is_new) = self.connection().await?;
        match self.ask(connection, token).await {
            ControlFlow::Continue(_) if !is_new => {}
            ControlFlow::Continue(error) => return Err(error.into()),
            ControlFlow::Break(answer) => return answer,
        }
        *self.kept.lock().await = None;
        let (connection, _) = self.connection().await?;
        match self.ask(connection, token).await {
            ControlFlow::Continue(error) => Err(error.into()),
            ControlFlow::Break(answer) => answer,
        }
    }

    /// Returns the answer, or continues with the error of a broken connection.
    async fn ask(
        &self,
        mut connection: MultiplexedConnection,
        token: &str,
    ) -> ControlFlow<Result<Vec<u8>, RedisLookupError>, RedisError> {
        let key = format!("{}{token}", self.prefix);
        // GETRANGE bounds the length of the answer, unlike GET.
        let mut question = redis::cmd("GETRANGE");
        let answer = question.arg(key).arg(0).arg(MAX_VALUE).query_async(&mut connection).await;
        match answer {
            Err(error) if error.is_io_error() => ControlFlow::Continue(error),
            answer => ControlFlow::Break(answer.map_err(Into::into)),
        }
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, bool), RedisLookupError> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| !kept.driver.is_finished()) {
            return Ok((kept.connection.clone(), false));
        }
        let stream = self.endpoint.connect().await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.deadline));
        let (connection, driver) =
            MultiplexedConnection::new_with_config(&self.login, stream, config).await?;
        *kept = Some(Kept { connection: connection.clone(), driver: spawn_local(driver) });
        Ok((connection, true))
    }
}

/// A value: `host:port`, or a JSON object with that as its `host`, a policy, or both.
#[derive(Debug, Default, Deserialize)]
struct Value {
    host: Option<String>,
    policy: Option<NestedPolicy>,
}

impl Value {
    fn read(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= MAX_VALUE)?.trim();
        if text.starts_with('{') {
            let value: Self = json::object(text.as_bytes()).ok()?;
            return (value.host.is_some() || value.policy.is_some()).then_some(value);
        }
        let is_plain = text.contains(':') && !text.contains(char::is_whitespace);
        is_plain.then(|| Self { host: Some(text.to_owned()), policy: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_plain_or_json() {
        let read = |value: &str| {
            Value::read(value.as_bytes())
                .map(|Value { host, policy }| (host.unwrap_or_default(), policy.is_some()))
        };
        let host = |host: &str, has_policy| Some((host.to_owned(), has_policy));
        assert_eq!(read("host:5900\n"), host("host:5900", false));
        assert_eq!(read("::1:5900"), host("::1:5900", false));
        assert_eq!(read(r#" {"host": "h:1", "x": 2} "#), host("h:1", false));
        assert_eq!(read(r#"{"host": "h:1", "policy": null}"#), host("h:1", false));
        assert_eq!(read(r#"{"host": "h:1", "policy": {}}"#), host("h:1", true));
        assert_eq!(read(r#"{"policy": {}}"#), host("", true));
        for wrong in [
            "host",
            "ho st:1",
            "{",
            "{}",
            r#"{"host": 1}"#,
            r#"{"host": "h:1", "policy": "x"}"#,
            "\0",
            "\u{2028}",
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
        assert!(Value::read(b"\xff:1").is_none());
        assert!(Value::read(&vec![b':'; 5000]).is_none());
    }
}
