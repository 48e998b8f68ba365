//! What a token allows: one struct, whatever the source of the token. `docs/reference/policy.md` documents the fields.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::moment::Moment;
use crate::addr::TargetAddr;
use crate::config::similar::most_similar;
use crate::config::site::{Origin, OriginPattern};
use crate::config::value::{self, HELP, OneOrMany};
use crate::config::{Name, ProxyProtocol};
use crate::ipc::ClientAddr;
use crate::ipc::uses::UseLimits;
use crate::networks::Networks;

/// Maximum number of targets. Each has its share of `timeouts.connect`.
const MAX_TARGETS: usize = 8;

/// Maximum length of a target's host in bytes: that of DNS (RFC 1035 section 2.3.4).
const MAX_HOST_BYTES: usize = 255;

/// Maximum length of a user name in bytes, as in answers of plugins.
const MAX_USER_BYTES: usize = 256;

/// What a token allows. An absent field means what the instance is configured to do, or no limit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TokenPolicy {
    /// The targets, at least one, unless the source names the target elsewhere. They are dialled in this order until one
    /// is connected.
    #[serde(default, deserialize_with = "targets")]
    pub target: Vec<TargetAddr>,
    /// No session begins before this time.
    #[serde(default, deserialize_with = "present")]
    pub not_before: Option<Moment>,
    /// No session begins from this time on. Sessions that have begun continue.
    #[serde(default, deserialize_with = "present")]
    pub expires: Option<Moment>,
    /// Maximum duration of a session.
    #[serde(default, deserialize_with = "duration")]
    pub lifetime: Option<Duration>,
    /// The session ends at this time, and none begins from then on.
    #[serde(default, deserialize_with = "present")]
    pub until: Option<Moment>,
    /// In place of `timeouts.idle`: the session ends after this time without data in either direction.
    #[serde(default, deserialize_with = "duration")]
    pub idle: Option<Duration>,
    /// Maximum number of sessions over all time.
    #[serde(default, deserialize_with = "present")]
    pub uses: Option<NonZeroU32>,
    /// Time for which a session that was lost may be continued without a further use.
    #[serde(default, deserialize_with = "duration")]
    pub reconnect: Option<Duration>,
    /// Maximum number of sessions at a time.
    #[serde(default, deserialize_with = "present")]
    pub sessions: Option<NonZeroU32>,
    /// Networks that clients must belong to.
    #[serde(default, deserialize_with = "present")]
    pub sources: Option<Networks>,
    /// Origins that pages must have, in addition to what the instance demands of them.
    #[serde(default, deserialize_with = "origins")]
    pub origins: Option<Vec<OriginPattern>>,
    /// The user of the session. A client that has authenticated as another user is refused.
    #[serde(default, deserialize_with = "user")]
    pub user: Option<String>,
    /// Whether the session is recorded. `true` needs `record` in the configuration, `false` makes an exception from it.
    #[serde(default, deserialize_with = "present")]
    pub record: Option<bool>,
    /// In place of `target-proxy-protocol`: the header by which the target learns who the client is.
    #[serde(default, deserialize_with = "present")]
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// A client, as a policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Applicant<'a> {
    /// Its address.
    pub client: &'a ClientAddr,
    /// The origin of its page, if it has sent one.
    pub origin: Option<&'a str>,
    /// The user that it has authenticated as, if it has.
    pub user: Option<&'a str>,
    /// Sessions are recorded, unless a policy says otherwise.
    pub is_recorded: bool,
}

/// A session that goes on, as a policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Ongoing<'a> {
    /// The target, as `TargetAddr` is displayed.
    pub target: &'a str,
    /// The client's address.
    pub client: &'a ClientAddr,
    /// The user, if one is known.
    pub user: Option<&'a str>,
    /// The session is recorded.
    pub is_recorded: bool,
    /// Time since it began.
    pub age: Duration,
}

/// The reason why a policy admits no session. The texts are for the log and contain nothing of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmet {
    /// `not-before` is in the future.
    #[error("it is not valid yet")]
    TooEarly,
    /// `expires` or `until` has passed.
    #[error("it has expired")]
    TooLate,
    /// The client's address is in none of `sources`.
    #[error("the client's address is not among its sources")]
    Source,
    /// The page's origin is none of `origins`.
    #[error("the page's origin is not among its origins")]
    Origin,
    /// The client has authenticated as another user than `user`.
    #[error("it belongs to another user")]
    User,
    /// `record` demands a recording, and the instance makes none.
    #[error("it demands a recording, and `record` is not configured")]
    Recording,
}

impl TokenPolicy {
    /// The fields, as they are written.
    pub const FIELDS: &'static [&'static str] = &[
        "target",
        "not-before",
        "expires",
        "lifetime",
        "until",
        "idle",
        "uses",
        "reconnect",
        "sessions",
        "sources",
        "origins",
        "user",
        "record",
        "proxy-protocol",
    ];

    /// The field whose name is most similar to an unknown one, if any is similar enough.
    #[must_use]
    pub fn similar_field(name: &str) -> Option<&'static str> {
        most_similar(name, Self::FIELDS.iter().copied())
    }

    /// Lets the policy expire no later than so many seconds after 1970.
    pub fn expire_by(&mut self, seconds: f64) {
        self.expires = self.expires.into_iter().chain(Moment::from_seconds(seconds)).min();
    }

    /// Checks whether a client may begin a session at the time `now`.
    ///
    /// # Errors
    ///
    /// The first condition that is not met.
    pub fn admits(&self, applicant: &Applicant<'_>, now: SystemTime) -> Result<(), Unmet> {
        let has_passed = |moment: Option<Moment>| moment.is_some_and(|moment| moment.0 <= now);
        if self.not_before.is_some_and(|moment| moment.0 > now) {
            return Err(Unmet::TooEarly);
        }
        if has_passed(self.expires) || has_passed(self.until) {
            return Err(Unmet::TooLate);
        }
        if self.sources.as_ref().is_some_and(|sources| !is_among(sources, applicant.client)) {
            return Err(Unmet::Source);
        }
        if self.origins.as_ref().is_some_and(|own| !is_from(own, applicant.origin)) {
            return Err(Unmet::Origin);
        }
        if self.user.as_deref().zip(applicant.user).is_some_and(|(own, other)| own != other) {
            return Err(Unmet::User);
        }
        if self.record == Some(true) && !applicant.is_recorded {
            return Err(Unmet::Recording);
        }
        Ok(())
    }

    /// Whether a session may go on at the time `now`: what the supervisor can tell.
    #[must_use]
    pub fn allows(&self, session: &Ongoing<'_>, now: SystemTime) -> bool {
        let leads_there = self.target.iter().any(|target| target.to_string() == session.target);
        let is_own = self.user.as_deref().is_none_or(|user| session.user == Some(user));
        let is_over = self.until.is_some_and(|until| until.0 <= now)
            || self.lifetime.is_some_and(|lifetime| lifetime <= session.age);
        leads_there
            && is_own
            && !is_over
            && self.sources.as_ref().is_none_or(|sources| is_among(sources, session.client))
            && (self.record != Some(true) || session.is_recorded)
    }

    /// Maximum duration of a session that begins at the time `now`; `None` for unlimited.
    #[must_use]
    pub fn longest(&self, now: SystemTime) -> Option<Duration> {
        let rest = self.until.map(|until| until.0.duration_since(now).unwrap_or_default());
        self.lifetime.into_iter().chain(rest).min()
    }
}

impl TokenPolicy {
    /// When the last session can begin, in seconds since 1970.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        let last = self.expires.into_iter().chain(self.until).min();
        last.map(|last| last.0.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    /// What the supervisor counts, if it has to count anything. `lifetime` is the maximum duration of the session.
    #[must_use]
    pub fn limits(&self, lifetime: Option<Duration>) -> Option<UseLimits> {
        let Self { uses, sessions, reconnect, .. } = *self;
        let limits = UseLimits { uses, sessions, reconnect, lifetime, expires: self.last() };
        Some(limits).filter(UseLimits::is_counted)
    }
}

fn is_among(networks: &Networks, client: &ClientAddr) -> bool {
    match client {
        ClientAddr::Ip(address) => networks.contains(address.ip()),
        ClientAddr::Unix(_) => networks.contains_unix(),
    }
}

fn is_from(origins: &[OriginPattern], origin: Option<&str>) -> bool {
    let Some(text) = origin else { return false };
    let origin = Origin::parse(text);
    origins.iter().any(|own| own.matches(text, origin.as_ref()))
}

fn rejected<E: Error>(text: &str, help: &str) -> E {
    E::custom(format!("{text}{HELP}{help}"))
}

fn targets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TargetAddr>, D::Error> {
    let targets = OneOrMany::<TargetAddr>::deserialize(deserializer)?;
    if targets.is_empty() || targets.len() > MAX_TARGETS {
        let help = "write one target, or a list of them in the order in which they are tried";
        return Err(rejected(&format!("expected 1 to {MAX_TARGETS} targets, found {}", targets.len()), help));
    }
    let is_long =
        |target: &TargetAddr| matches!(target, TargetAddr::Tcp { host, .. } if host.len() > MAX_HOST_BYTES);
    if targets.iter().any(is_long) {
        return Err(rejected(&format!("a host longer than {MAX_HOST_BYTES} bytes"), "write a shorter name"));
    }
    Ok(targets)
}

/// Rejects a value that is there and is `null`: it must not count as absent.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    value::read(deserializer).map(Some)
}

fn origins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<OriginPattern>>, D::Error> {
    OneOrMany::<OriginPattern>::deserialize(deserializer).map(Some)
}

fn user<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = Name::deserialize(deserializer)?;
    if name.len() > MAX_USER_BYTES {
        return Err(rejected(&format!("a name longer than {MAX_USER_BYTES} bytes"), "write a shorter name"));
    }
    Ok(Some(name.to_string()))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn policy(text: &str) -> TokenPolicy {
        toml::from_str(&format!("target = \"h:1\"\n{text}")).unwrap()
    }

    fn error(text: &str) -> String {
        toml::from_str::<TokenPolicy>(&format!("target = \"h:1\"\n{text}")).unwrap_err().to_string()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn every_field_is_read_and_listed() {
        let text = "not-before = 1970-01-01T00:01:00Z\nexpires = 120\nlifetime = \"8h\"\nidle = \"30m\"\n\
                    until = \"1970-01-01T02:00:00+01:00\"\nsources = [\"10.0.0.0/8\", \"unix\"]\n\
                    origins = \"https://a.example\"\nuser = \"alice\"\nrecord = false\n\
                    proxy-protocol = \"v2\"\n\
                    uses = 3\nreconnect = \"5m\"\nsessions = 2\n";
        let read = policy(text);
        assert_eq!(read.target, [TargetAddr::parse_tcp("h:1").unwrap()]);
        assert_eq!((read.not_before, read.expires), (Some(Moment(at(60))), Some(Moment(at(120)))));
        assert_eq!(
            (read.lifetime, read.idle),
            (Some(Duration::from_secs(28800)), Some(Duration::from_secs(1800)))
        );
        assert_eq!(read.until, Some(Moment(at(3600))));
        assert_eq!((read.user.as_deref(), read.record), (Some("alice"), Some(false)));
        assert_eq!(read.proxy_protocol, Some(ProxyProtocol::V2));
        let limits = read.limits(Some(Duration::from_secs(7))).unwrap();
        assert_eq!((limits.uses, limits.sessions), (NonZeroU32::new(3), NonZeroU32::new(2)));
        assert_eq!((limits.reconnect, limits.expires), (Some(Duration::from_secs(300)), Some(120)));
        assert_eq!(policy("").limits(None), None);
        assert!(read.sources.is_some() && read.origins.is_some());
        for field in TokenPolicy::FIELDS {
            assert!(format!("target = 1\n{text}").contains(&format!("{field} = ")), "{field}");
        }
        let known = error("x = 1");
        assert_eq!(known.matches('`').count(), 2 * (TokenPolicy::FIELDS.len() + 1), "{known}");
        let page = include_str!("../../../docs/reference/policy.md");
        let (_, fields) = page.split_once("| field |").unwrap();
        let rows: Vec<_> =
            fields.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(rows, TokenPolicy::FIELDS);
    }

    #[test]
    fn what_can_not_be_enforced_is_rejected() {
        for (text, says) in [
            ("proxy_protocol = \"v2\"", "unknown field"),
            ("proxy-protocol = \"v3\"", "unknown value"),
            ("uses = 0", "nonzero"),
            ("sessions = -1", "nonzero"),
            ("lifetime = \"0s\"", "zero"),
            ("lifetime = 60", "write a unit"),
            ("idle = \"off\"", "not a duration"),
            ("expires = 2026-12-24", "without a time"),
            ("expires = 2026-12-24T18:00:00", "without an offset"),
            ("sources = \"localhost\"", "not a network"),
            ("origins = \"example.com\"", "not the origin of a page"),
            ("origins = \"https://example.com/\"", "not the origin of a page"),
            ("record = \"yes\"", "boolean"),
            ("user = \"\"", "not a name"),
        ] {
            assert!(error(text).contains(says), "{text}: {}", error(text));
        }
        for target in ["target = []", "target = \"h\"", "target = [\"h:1\", \"h\"]"] {
            assert!(toml::from_str::<TokenPolicy>(target).is_err(), "{target}");
        }
        let many = format!("target = {:?}", vec!["h:1"; MAX_TARGETS + 1]);
        assert!(toml::from_str::<TokenPolicy>(&many).is_err());
    }

    fn admits(text: &str, client: &str, origin: Option<&str>, user: Option<&str>) -> Result<(), Unmet> {
        let client = client.parse::<SocketAddr>().map_or(ClientAddr::Unix(String::new()), ClientAddr::Ip);
        let applicant = Applicant { client: &client, origin, user, is_recorded: false };
        policy(text).admits(&applicant, at(1000))
    }

    #[test]
    fn each_condition_must_be_met() {
        let of = |text| admits(text, "192.0.2.1:5", Some("https://a.example"), Some("alice"));
        for met in [
            "",
            "not-before = 1000",
            "expires = 1001",
            "until = 1001",
            "sources = \"192.0.2.0/24\"",
            "origins = [\"https://b.example\", \"https://a.example\"]",
            "user = \"alice\"",
            "record = false",
        ] {
            assert_eq!(of(met), Ok(()), "{met}");
        }
        for (unmet, why) in [
            ("not-before = 1001", Unmet::TooEarly),
            ("expires = 1000", Unmet::TooLate),
            ("until = 1000", Unmet::TooLate),
            ("sources = \"192.0.3.0/24\"", Unmet::Source),
            ("sources = []", Unmet::Source),
            ("sources = \"unix\"", Unmet::Source),
            ("origins = \"https://a.example:444\"", Unmet::Origin),
            ("origins = []", Unmet::Origin),
            ("user = \"bob\"", Unmet::User),
            ("record = true", Unmet::Recording),
        ] {
            assert_eq!(of(unmet), Err(why), "{unmet}");
        }
        assert_eq!(admits("sources = \"unix\"", "", None, None), Ok(()));
        assert_eq!(admits("sources = \"::/0\"", "", None, None), Err(Unmet::Source));
        assert_eq!(admits("origins = \"https://a.example\"", "", None, None), Err(Unmet::Origin));
        // A client without an account is the user that the token stands for.
        assert_eq!(admits("user = \"bob\"", "", None, None), Ok(()));
    }

    #[test]
    fn a_session_goes_on_while_its_policy_allows_it() {
        let client = ClientAddr::Ip("192.0.2.1:5".parse().unwrap());
        let allows = |text| {
            let (target, age) = ("h:1", Duration::from_secs(60));
            let session = Ongoing { target, client: &client, user: Some("alice"), is_recorded: false, age };
            policy(text).allows(&session, at(1000))
        };
        for text in [
            "",
            "expires = 1",
            "not-before = 9999",
            "until = 1001",
            "lifetime = \"61s\"",
            "user = \"alice\"",
            "sources = \"192.0.2.1\"",
            "record = false",
            "uses = 1",
        ] {
            assert!(allows(text), "{text}");
        }
        for text in [
            "until = 1000",
            "lifetime = \"60s\"",
            "user = \"bob\"",
            "sources = \"192.0.2.2\"",
            "record = true",
        ] {
            assert!(!allows(text), "{text}");
        }
        let elsewhere: TokenPolicy = toml::from_str("target = [\"h:2\", \"unix:/h\"]").unwrap();
        let session =
            Ongoing { target: "h:1", client: &client, user: None, is_recorded: true, age: Duration::ZERO };
        assert!(!elsewhere.allows(&session, at(0)));
    }

    #[test]
    fn the_first_expiry_counts() {
        let expires = |text, by| {
            let mut policy = policy(text);
            policy.expire_by(by);
            policy.expires
        };
        for (text, by) in
            [("", 60.0), ("expires = 90", 60.0), ("expires = 60", 90.0), ("expires = 60", 1e300)]
        {
            assert_eq!(expires(text, by), Some(Moment(at(60))), "{text}");
        }
        assert_eq!(expires("", 1e300), None);
    }

    #[test]
    fn a_session_ends_with_the_first_of_its_limits() {
        let seconds = |text| policy(text).longest(at(1000)).map(|longest| longest.as_secs());
        assert_eq!(seconds(""), None);
        assert_eq!(seconds("lifetime = \"1h\""), Some(3600));
        assert_eq!(seconds("until = 1060\nlifetime = \"1h\""), Some(60));
        assert_eq!(seconds("until = 9000\nlifetime = \"1h\""), Some(3600));
        assert_eq!(seconds("until = 900"), Some(0));
    }
}
