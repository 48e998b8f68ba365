//! The format of `TokenTable`: TOML files with a table for each token.
//!
//! Errors name a file and a place in it, and never show a line, as each may contain a token.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use super::policy::TokenPolicy;
use crate::config::file::{self, FileError};
use crate::config::value::HELP;
use crate::ticket::Key;

/// Prefix of a token that is written as its hash.
const HASHED: &str = "sha256:";

/// A token, or its hash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenName {
    /// The token.
    Plain(String),
    /// SHA-256 of the token.
    Hashed([u8; 32]),
}

impl TokenName {
    /// The hash of a token.
    #[must_use]
    pub fn hash(token: &str) -> [u8; 32] {
        Sha256::digest(token).into()
    }

    /// The keyed hash that stands for a token in records. It is made of the hash of the token, so that it is known for
    /// tokens that are written as their hashes.
    #[must_use]
    pub fn fingerprint_of(token: &str, key: &Key) -> String {
        key.fingerprint(&Self::hash(token))
    }

    /// The keyed hash of this token.
    #[must_use]
    pub fn fingerprint(&self, key: &Key) -> String {
        match self {
            Self::Plain(token) => Self::fingerprint_of(token, key),
            Self::Hashed(hash) => key.fingerprint(hash),
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
        let Some(digits) = text.strip_prefix(HASHED) else { return Ok(Self::Plain(text)) };
        hash(digits).map(Self::Hashed).ok_or_else(|| {
            let help = "write what `printf %s TOKEN | sha256sum` prints";
            serde::de::Error::custom(format!("a hash that has not 64 hexadecimal digits{HELP}{help}"))
        })
    }
}

fn hash(digits: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    tokens: BTreeMap<TokenName, TokenPolicy>,
}

/// Parses the content of the file at `path`.
///
/// # Errors
///
/// The first error in the file, with its line and column.
pub fn parse(content: &[u8], path: &Path) -> Result<BTreeMap<TokenName, TokenPolicy>, FileError> {
    file::parse_secret(content, path).map(|Document { tokens }| tokens)
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
        assert_eq!(tokens[&TokenName::Hashed(TokenName::hash("test"))].target.len(), 2);
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
