//! The source of `TokenRedis`.

use std::fmt;

use thiserror::Error;

use crate::addr::TargetAddr;
use crate::config::secret::Secret;

/// Default port of Redis.
const DEFAULT_PORT: u16 = 6379;

/// Address of a Redis server, and where its tokens are.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisSource {
    /// The source as given, which may contain the password.
    text: Secret,
    /// Use TLS: the source begins with `rediss://`.
    pub secured: bool,
    /// Host and port; the default host is `localhost`.
    pub address: TargetAddr,
    /// Number of the database. Default: 0.
    pub db: i64,
    /// Password, if there is one.
    pub password: Option<Secret>,
    /// Prefix of each key, separated from the token by a colon.
    pub namespace: Option<String>,
}

/// The reason why a source is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RedisSourceError {
    /// More than five fields.
    #[error("it has more than five fields")]
    Fields,
    /// The second field is not a port.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// The third field is not a number.
    #[error("its database is not a number")]
    Database,
}

impl RedisSource {
    /// Parses `host[:port[:db[:password[:namespace]]]]` like the original. A field that contains colons is
    /// written in double quotes, and an empty field has its default. The prefix `rediss://` selects TLS;
    /// `redis://` has no effect.
    ///
    /// # Errors
    ///
    /// The field that is invalid.
    pub fn parse(text: &str) -> Result<Self, RedisSourceError> {
        let (secured, plain) = match (text.strip_prefix("rediss://"), text.strip_prefix("redis://")) {
            (Some(rest), _) => (true, rest),
            (None, rest) => (false, rest.unwrap_or(text)),
        };
        let fields = fields(plain);
        if fields.len() > 5 {
            return Err(RedisSourceError::Fields);
        }
        let field = |at: usize| fields.get(at).copied().filter(|field| !field.is_empty());
        let port = match field(1).map(|port| port.trim().parse()) {
            None => DEFAULT_PORT,
            Some(Err(_) | Ok(0)) => return Err(RedisSourceError::Port),
            Some(Ok(port)) => port,
        };
        let db = field(2).map_or(Ok(0), |db| db.trim().parse()).map_err(|_| RedisSourceError::Database)?;
        let host = field(0).unwrap_or("localhost").trim_matches(['[', ']']).to_owned();
        Ok(Self {
            text: Secret::new(text.to_owned()),
            secured,
            address: TargetAddr::Tcp { host, port },
            db,
            password: field(3).map(|password| Secret::new(password.to_owned())),
            namespace: field(4).map(str::to_owned),
        })
    }

    /// The source as given.
    #[must_use]
    pub fn text(&self) -> &Secret {
        &self.text
    }
}

impl fmt::Debug for RedisSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisSource({}, …)", self.address)
    }
}

/// Splits a text at colons. A quoted field ends at a quote that is followed by a colon or the end; otherwise
/// quotes have no meaning.
fn fields(mut rest: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    loop {
        let quoted = rest
            .strip_prefix('"')
            .and_then(|inner| inner.split_once('"'))
            .filter(|(field, after)| !field.is_empty() && (after.is_empty() || after.starts_with(':')));
        let (field, after) = quoted.unwrap_or_else(|| rest.split_at(rest.find(':').unwrap_or(rest.len())));
        fields.push(field);
        match after.strip_prefix(':') {
            Some(next) => rest = next,
            None => return fields,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Results of the original's function for the same texts.
    #[test]
    fn fields_are_split_as_in_the_original() {
        for (text, expected) in [
            ("a", vec!["a"]),
            ("a:b:c:d", vec!["a", "b", "c", "d"]),
            ("a:\"b:c\":d", vec!["a", "b:c", "d"]),
            ("\"a:b\"", vec!["a:b"]),
            ("\"a\":", vec!["a", ""]),
            ("", vec![""]),
            (":", vec!["", ""]),
            ("a::::\"x:y\"", vec!["a", "", "", "", "x:y"]),
            ("a:\"b:c\"d:e", vec!["a", "\"b", "c\"d", "e"]),
            ("a:\"\":b", vec!["a", "\"\"", "b"]),
            ("a:b\"c:d\"", vec!["a", "b\"c", "d\""]),
            ("a:\"b", vec!["a", "\"b"]),
        ] {
            assert_eq!(fields(text), expected, "{text}");
        }
    }

    #[test]
    fn each_field_has_its_default() {
        let read = |text| RedisSource::parse(text).unwrap();
        let plain = read("my-redis-host");
        assert_eq!(
            (plain.address.to_string(), plain.db, plain.secured),
            ("my-redis-host:6379".into(), 0, false)
        );
        assert_eq!((plain.password, plain.namespace), (None, None));
        assert_eq!(read("h:::::".trim_end_matches(':')).address, read("h::::").address);
        let full = read("rediss://\"::1\":6380:1:\"very:secret\":\"first:second\"");
        assert_eq!((full.address.to_string(), full.db, full.secured), ("[::1]:6380".into(), 1, true));
        assert_eq!(full.password.as_ref().map(Secret::reveal), Some("very:secret"));
        assert_eq!(full.namespace.as_deref(), Some("first:second"));
        assert!(!format!("{full:?}").contains("secret"));
        assert_eq!(read("h:::hush").password.as_ref().map(Secret::reveal), Some("hush"));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let error = |text| RedisSource::parse(text).unwrap_err();
        assert_eq!(error("a:b"), RedisSourceError::Port);
        assert_eq!(error("a:0"), RedisSourceError::Port);
        assert_eq!(error("a:1:b"), RedisSourceError::Database);
        assert_eq!(error("a:1:2:3:4:5"), RedisSourceError::Fields);
    }
}
