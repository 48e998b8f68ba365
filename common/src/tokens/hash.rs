//! Hashes that stand for tokens where these must not be known.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::hexadecimal;
use crate::ticket::Key;

/// Prefix of a token that is written as its hash.
const PREFIX: &str = "sha256:";

/// SHA-256 of a token, written as `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash([u8; 32]);

/// The reason why a text is not the hash of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// There is no `sha256:`.
    #[error("not a hash of a token, which begins with `{PREFIX}`")]
    Prefix,
    /// There are too few or too many digits, or other characters.
    #[error("a hash that has not 64 hexadecimal digits")]
    Digits,
}

impl TokenHash {
    /// The hash of a token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// The hash of what is signed of a JSON Web Token (RFC 7515 section 7.1): the header and the payload. Signatures of
    /// some algorithms can be changed by anybody so that they stay valid, and the token must stay the same then. `None`
    /// if the token does not have the form of a signed one.
    #[must_use]
    pub fn of_signed(token: &str) -> Option<Self> {
        let (signed, _) = token.rsplit_once('.').filter(|_| token.matches('.').count() == 2)?;
        Some(Self::of(signed))
    }

    /// The keyed hash that stands for the token in records. It is made of the hash of the token, so that it is known for
    /// tokens that are written as their hashes.
    #[must_use]
    pub fn fingerprint(&self, key: &Key) -> String {
        key.fingerprint(&self.0)
    }
}

impl FromStr for TokenHash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let digits = text.strip_prefix(PREFIX).ok_or(HashError::Prefix)?;
        hexadecimal(digits).map(Self).ok_or(HashError::Digits)
    }
}

impl Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_written_and_read() {
        let written = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        assert_eq!(TokenHash::of("test").to_string(), written);
        assert_eq!(written.parse(), Ok(TokenHash::of("test")));
        assert_eq!(written.replace("9f8", "9F8").parse(), Ok(TokenHash::of("test")));
        for (wrong, why) in [
            ("test", HashError::Prefix),
            ("sha256:9f", HashError::Digits),
            (&*format!("{written}0"), HashError::Digits),
            (&*written.replace("9f8", "ü8"), HashError::Digits),
        ] {
            assert_eq!(wrong.parse::<TokenHash>(), Err(why), "{wrong}");
        }
    }

    #[test]
    fn a_signed_token_is_the_same_with_another_signature() {
        assert_eq!(TokenHash::of_signed("a.b.c"), Some(TokenHash::of("a.b")));
        assert_eq!(TokenHash::of_signed("a.b.d"), TokenHash::of_signed("a.b.c"));
        for other in ["", "a", "a.b", "a.b.c.d", "a.b.c.d.e"] {
            assert_eq!(TokenHash::of_signed(other), None, "{other}");
        }
    }
}
