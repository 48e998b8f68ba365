//! Tokens that were revoked: they get no session any more, whatever their source says.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// Maximum number of barred tokens. Those that have expired are forgotten beyond it.
pub(crate) const MAX_BARRED: usize = 1 << 16;

/// The barred tokens by their keyed hashes, each with its expiry in seconds since 1970, if it expires.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Barred(HashMap<String, Option<u64>>);

impl Barred {
    /// Bars a token, `today` in seconds since 1970. Returns whether there was room.
    pub(super) fn bar(&mut self, token: &str, expires: Option<u64>, today: u64) -> bool {
        if self.0.len() >= MAX_BARRED && !self.0.contains_key(token) {
            self.0.retain(|_, expires| expires.is_none_or(|expires| expires > today));
            if self.0.len() >= MAX_BARRED {
                return false;
            }
        }
        self.0.insert(token.to_owned(), expires);
        true
    }

    /// Whether no token is barred.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the token with this keyed hash is barred.
    pub(super) fn contains(&self, token: &str) -> bool {
        self.0.contains_key(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_barred_tokens_is_bounded_and_expired_ones_make_room() {
        let mut barred = Barred::default();
        for number in 0..MAX_BARRED {
            assert!(barred.bar(&number.to_string(), Some(10), 0));
        }
        assert!(barred.bar("0", Some(10), 0), "it is barred already");
        assert!(!barred.bar("t", None, 9));
        assert!(barred.bar("t", None, 10));
        assert!(barred.contains("t") && !barred.contains("0"));
    }
}
