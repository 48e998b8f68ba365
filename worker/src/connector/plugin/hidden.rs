//! Removes what a client has sent from a plugin's texts for the log: any of it may be a token or a password.

use std::collections::BTreeSet;

use base64ct::{Base64, Encoding};
use percent_encoding::percent_decode_str;

use super::question::Question;

/// Replacement for removed text.
const HIDDEN: &str = "***";

/// Shorter texts, in bytes, are removed as whole words only, so that a token `1` does not make a text unreadable.
const SHORT: usize = 4;

/// Header fields that name sites. If one of them carries the token, the question has it as the token.
const SITES: [&str; 2] = ["host", "origin"];

/// Separators of the parts of a path, a query and a header field.
const SEPARATORS: &[char] = &['/', '?', '&', '=', ';', ',', ' ', '"', ':'];

impl Question<'_> {
    /// Returns `text` without what the client has sent: its token, and the parts of its path, query and header fields,
    /// percent-encoded or not.
    pub(super) fn hide_from(&self, text: &str) -> String {
        let mut shown = BTreeSet::new();
        let fields = self.headers.iter().filter(|(name, _)| !SITES.contains(*name)).map(|(_, value)| *value);
        for value in self.token.into_iter().chain([self.path]).chain(fields) {
            add(&mut shown, value);
            for part in value.split(SEPARATORS) {
                add(&mut shown, part);
            }
            // User name and password of Basic authentication (RFC 7617).
            let pair = value.split_once(' ').and_then(|(_, encoded)| Base64::decode_vec(encoded).ok());
            let pair = pair.and_then(|pair| String::from_utf8(pair).ok()).unwrap_or_default();
            if let Some((_, password)) = pair.split_once(':') {
                add(&mut shown, password);
            }
        }
        let mut hidden = text.to_owned();
        // The longest first, since a token may contain a shorter part.
        let mut shown: Vec<_> = shown.into_iter().collect();
        shown.sort_by_key(|part| std::cmp::Reverse(part.len()));
        for part in shown {
            hidden = hide(&hidden, &part);
        }
        hidden
    }
}

fn add(shown: &mut BTreeSet<String>, part: &str) {
    shown.insert(part.to_owned());
    shown.insert(percent_decode_str(part).decode_utf8_lossy().into_owned());
    shown.remove("");
}

fn hide(text: &str, part: &str) -> String {
    let mut hidden = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(part) {
        let is_word = !before.ends_with(char::is_alphanumeric) && !behind.starts_with(char::is_alphanumeric);
        hidden.push_str(before);
        hidden.push_str(if part.len() >= SHORT || is_word { HIDDEN } else { part });
        rest = behind;
    }
    hidden + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_hidden_wherever_they_are_and_short_ones_where_they_stand_alone() {
        for (text, part, hidden) in [
            ("no target for secret", "secret", "no target for ***"),
            ("'asecretb' and secretsecret", "secret", "'a***b' and ******"),
            ("403 no token 3", "3", "403 no token ***"),
            ("vm vmx (vm)", "vm", "*** vmx (***)"),
            ("nothing", "secret", "nothing"),
        ] {
            assert_eq!(hide(text, part), hidden);
        }
    }
}
