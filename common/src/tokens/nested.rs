//! Policies in JSON: in values of Redis, answers of services and plugins, and claims of JSON Web Tokens.
//!
//! The fields are those of [`TokenPolicy`]. Two things differ from files: an unknown field is left out and reported, as
//! who writes it may be newer than we are; and the target may stand outside the policy.

use std::fmt;
use std::vec;

use serde::de::value::{Error, MapAccessDeserializer};
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::policy::TokenPolicy;
use crate::addr::TargetAddr;

/// The members of a policy, not yet read, so that errors in them are told from errors around them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NestedPolicy(Vec<(String, Value)>);

/// The reason why a policy can't be enforced. The text contains no value of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its policy can't be enforced: {0}")]
pub struct Unenforceable(String);

impl NestedPolicy {
    /// Whether the policy has targets of its own.
    #[must_use]
    pub fn has_target(&self) -> bool {
        self.0.iter().any(|(name, _)| name == "target")
    }

    /// Reads the policy. Sessions lead to `target` unless the policy has targets of its own. Returns the names of
    /// unknown fields with it.
    ///
    /// # Errors
    ///
    /// Fails if a field has an invalid value or stands there twice, or if there is no target.
    pub fn read(self, target: Option<TargetAddr>) -> Result<(TokenPolicy, Vec<String>), Unenforceable> {
        let is_known = |(name, _): &(String, _)| TokenPolicy::FIELDS.contains(&name.as_str());
        let (known, unknown): (Vec<_>, Vec<_>) = self.0.into_iter().partition(is_known);
        let fields = Fields { rest: known.into_iter(), value: None };
        let mut policy = TokenPolicy::deserialize(MapAccessDeserializer::new(fields))
            .map_err(|error| Unenforceable(error.to_string()))?;
        if policy.target.is_empty() {
            policy.target.push(target.ok_or_else(|| Unenforceable("it has no target".to_owned()))?);
        }
        Ok((policy, unknown.into_iter().map(|(name, _)| name).collect()))
    }
}

impl fmt::Debug for NestedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NestedPolicy(…)")
    }
}

impl<'de> Deserialize<'de> for NestedPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = NestedPolicy;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NestedPolicy, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(NestedPolicy(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Feeds members to [`TokenPolicy`], and words errors without the value.
struct Fields {
    rest: vec::IntoIter<(String, Value)>,
    value: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.value = self.rest.next();
        let name = self.value.as_ref().map(|(name, _)| name.as_str().into_deserializer());
        name.map(|name| seed.deserialize(name)).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (name, value) = self.value.take().ok_or_else(|| Error::custom("a value without a name"))?;
        let form = form(&name);
        seed.deserialize(value).map_err(|_| Error::custom(format_args!("`{name}` is not {form}")))
    }
}

/// What the value of a field is.
fn form(field: &str) -> &'static str {
    match field {
        "target" => "an address such as \"localhost:5900\" or \"unix:/path\", or a list of up to 8",
        "not-before" | "expires" | "until" => "a time such as \"2026-12-24T18:00:00Z\"",
        "lifetime" | "idle" | "reconnect" => "a duration such as \"30m\"",
        "uses" | "sessions" => "a number from 1 to 4294967295",
        "sources" => "a network such as \"10.0.0.0/8\", or a list of them",
        "origins" => "an origin such as \"https://vnc.example.com\", or a list of them",
        "user" => "a name of up to 256 bytes",
        "record" => "true or false",
        "proxy-protocol" => "\"v1\", \"v2\" or \"off\"",
        _ => "a valid value",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json;

    fn read(text: &str, target: Option<&str>) -> Result<(TokenPolicy, Vec<String>), String> {
        let nested: NestedPolicy = json::object(text.as_bytes()).map_err(|error| error.to_string())?;
        let target = target.map(|target| TargetAddr::parse_tcp(target).unwrap());
        nested.read(target).map_err(|error| error.to_string())
    }

    #[test]
    fn the_same_policy_is_read_from_json_and_from_toml() {
        let json = r#"{"target": ["h:1", "unix:/x"], "not-before": 60, "expires": "1970-01-01T00:02:00Z",
            "lifetime": "8h", "until": 3600.5, "idle": "30m", "uses": 3, "reconnect": "5m", "sessions": 2,
            "sources": ["10.0.0.0/8", "unix"], "origins": "https://a.example", "user": "alice", "record": false,
            "proxy-protocol": "v2"}"#;
        let toml = "target = [\"h:1\", \"unix:/x\"]\nnot-before = 60\nexpires = 1970-01-01T00:02:00Z\n\
            lifetime = \"8h\"\nuntil = 3600.5\nidle = \"30m\"\nuses = 3\nreconnect = \"5m\"\nsessions = 2\n\
            sources = [\"10.0.0.0/8\", \"unix\"]\norigins = \"https://a.example\"\nuser = \"alice\"\nrecord = false\n\
            proxy-protocol = \"v2\"\n";
        let (policy, unknown) = read(json, Some("other:1")).unwrap();
        assert_eq!((policy, unknown), (toml::from_str(toml).unwrap(), Vec::new()));
        for field in TokenPolicy::FIELDS {
            assert!(json.contains(&format!("\"{field}\": ")), "{field}");
        }
    }

    #[test]
    fn a_target_outside_counts_where_there_is_none_within() {
        let target = |text, outside| read(text, outside).map(|(policy, _)| policy.target[0].to_string());
        assert_eq!(target("{}", Some("h:1")), Ok("h:1".to_owned()));
        assert_eq!(target(r#"{"target": "h:2"}"#, Some("h:1")), Ok("h:2".to_owned()));
        assert_eq!(target(r#"{"target": "h:2"}"#, None), Ok("h:2".to_owned()));
        assert_eq!(target("{}", None), Err("its policy can't be enforced: it has no target".to_owned()));
        assert!(target(r#"{"target": []}"#, Some("h:1")).is_err());
    }

    #[test]
    fn unknown_fields_are_left_out_and_named() {
        let (policy, unknown) = read(r#"{"lifetme": "1h", "uses": 1, "x": {"y": []}}"#, Some("h:1")).unwrap();
        assert_eq!(policy.uses.map(std::num::NonZeroU32::get), Some(1));
        assert_eq!(unknown, ["lifetme", "x"]);
    }

    #[test]
    fn what_can_not_be_enforced_is_rejected_without_its_value() {
        for field in TokenPolicy::FIELDS {
            for value in ["null", "{\"c4nary\": 1}", "\"c4nary\\u0007\"", "-1", "0.5e400"] {
                let text = format!("{{\"{field}\": {value}}}");
                if let Err(error) = read(&text, Some("h:1")) {
                    assert!(!error.contains("c4nary"), "{text}: {error}");
                    assert!(!error.ends_with("a valid value"), "{text}: {error}");
                } else {
                    panic!("{text}");
                }
            }
        }
        let error = |text| read(text, Some("h:1")).unwrap_err();
        assert_eq!(
            error(r#"{"lifetime": "1 hour"}"#),
            "its policy can't be enforced: `lifetime` is not a duration such as \"30m\""
        );
        assert!(error(r#"{"uses": 1, "uses": 9}"#).ends_with("duplicate field `uses`"));
        for wrong in ["[]", "\"h:1\"", "null", "{\"uses\": 1"] {
            assert!(read(wrong, Some("h:1")).is_err(), "{wrong}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[0-9a-z:/.TZ+-]{0,24}".prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::from))
    }

    proptest! {
        #[test]
        fn no_policy_panics(members in prop::collection::vec(
            (prop::sample::select(TokenPolicy::FIELDS.to_vec()), any_value()),
            0..4,
        )) {
            let members = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let _ = NestedPolicy(members).read(TargetAddr::parse_tcp("h:1").ok());
        }
    }
}
