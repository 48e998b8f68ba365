//! The format of `TokenTable`: TOML files with a table for each token.
//!
//! Errors name a file and a place in it, and never show a line, as each may contain a token.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Deserializer};

use super::hash::{HashError, TokenHash};
use super::policy::TokenPolicy;
use crate::config::file::{self, FileError};
use crate::config::value::HELP;
use crate::ticket::Key;

/// A token, or its hash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenName {
    /// The token.
    Plain(String),
    /// SHA-256 of the token.
    Hashed(TokenHash),
}

impl TokenName {
    /// The keyed hash of this token.
    #[must_use]
    pub fn fingerprint(&self, key: &Key) -> String {
        match self {
            Self::Plain(token) => TokenHash::of(token).fingerprint(key),
            Self::Hashed(hash) => hash.fingerprint(key),
        }
    }
}

impl fmt::Debug for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenName(…)")
    }
}

impl<'de> Deserialize<'de> for TokenName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse() {
            Ok(hash) => Ok(Self::Hashed(hash)),
            Err(HashError::Prefix) => Ok(Self::Plain(text)),
            Err(error @ HashError::Digits) => {
                let help = "write what `printf %s TOKEN | sha256sum` prints";
                Err(serde::de::Error::custom(format!("{error}{HELP}{help}")))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    tokens: BTreeMap<TokenName, Complete>,
}

/// A policy that names its targets.
struct Complete(TokenPolicy);

impl<'de> Deserialize<'de> for Complete {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let policy = TokenPolicy::deserialize(deserializer)?;
        if policy.target.is_empty() {
            return Err(serde::de::Error::missing_field("target"));
        }
        Ok(Self(policy))
    }
}

/// Parses the content of the file at `path`.
///
/// # Errors
///
/// The first error in the file, with its line and column.
pub fn parse(content: &[u8], path: &Path) -> Result<BTreeMap<TokenName, TokenPolicy>, FileError> {
    let Document { tokens } = file::parse_secret(content, path)?;
    Ok(tokens.into_iter().map(|(name, Complete(policy))| (name, policy)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<TokenName, TokenPolicy>, String> {
        parse(text.as_bytes(), Path::new("t.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_table_has_tokens_and_hashes() {
        let digits = "9f86d081884c7d659a2feaa0c55ad015A3BF4F1B2B0B822CD15D6C15B0F00A08";
        let tokens = read(&format!(
            "[tokens.a]\ntarget = \"h:1\"\n[tokens.\"sha256:{digits}\"]\ntarget = [\"h:2\", \"unix:/x\"]\n"
        ));
        let tokens = tokens.unwrap();
        assert_eq!(tokens[&TokenName::Plain("a".to_owned())].target.len(), 1);
        assert_eq!(tokens[&TokenName::Hashed(TokenHash::of("test"))].target.len(), 2);
        assert_eq!(read("# none\n").map(|tokens| tokens.len()), Ok(0));
    }

    #[test]
    fn an_error_has_a_place_and_advice_and_shows_no_token() {
        for (text, place, says) in [
            ("[tokens.canary]\ntarget = \"h:1\"\nlifetme = \"1h\"\n", "3:1", "did you mean `lifetime`?"),
            (
                "[tokens.canary]\ntarget = \"h:1\"\nlifetime = \"1 hour\"\n",
                "3:12",
                "not a whole number and a unit",
            ),
            ("[tokens.canary]\ntarget = [\"h:1\",\n \"h\"]\n", "3:2", "no host"),
            ("[tokens.canary]\nlifetime = \"1h\"\n", "1:1", "`target` is missing"),
            ("[tokens.canary]\n[tokens.canary]\n", "2:9", "duplicate key"),
            ("[canary]\ntarget = \"h:1\"\n", "1:2", "unknown key"),
            ("tokens = \"canary\"\n", "1:10", "expected a"),
            ("[tokens]\ncanary = \"h:1\"\n", "2:10", "expected a table"),
            ("[tokens.\"sha256:canary\"]\ntarget = \"h:1\"\n", "1:", "64 hexadecimal digits"),
            ("[tokens.canary\n", "1:15", ""),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(&format!("error: t.toml:{place}")), "{text}: {error}");
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains("canary"), "{text}: {error}");
        }
        let error = parse(b"\n\xff", Path::new("t.toml")).unwrap_err().to_string();
        assert!(error.contains("is not UTF-8 text (line 2)"), "{error}");
    }
}
