//! Links: tokens that contain their policy. `websockifyctl ticket` makes them, and the connector opens them.
//!
//! A link is base64url without padding (RFC 4648 section 5) of
//!
//! | bytes | |
//! |---|---|
//! | 1 | version, [`VERSION`] |
//! | 12 | nonce, random |
//! | n | the policy as a JSON object, encrypted |
//! | 16 | tag |
//!
//! The cipher is AES-256-GCM-SIV (RFC 8452), with the version as additional data. It withstands a nonce that occurs
//! twice, which would tell no more than whether two links have the same policy. So nonces need no state, and machines
//! can share a key.
//!
//! There is one text for each link: other spellings of the same bytes are rejected, since uses are counted by the text.
#![forbid(unsafe_code)]

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use common::json;
use common::shared_keys::{SharedKey, SharedKeys};
use common::tokens::policy::TokenPolicy;
use data_encoding::BASE64URL_NOPAD;

/// Version of the format.
const VERSION: u8 = 1;

/// Purpose of the cipher's key, which precedes the version in the additional data.
const PURPOSE: &[u8] = b"websockify link ";

/// Maximum length of a link in characters: it fits into a cookie, which may have 4096 bytes (RFC 6265 section 6.1).
pub const MAX_CHARS: usize = 4000;

/// The reason why a text is not a valid link. The texts are for the log, and show nothing of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It has another form.
    #[error("it is not a link of `websockifyctl ticket`")]
    NotALink,
    /// It has the form of another version.
    #[error("it is a link of another version")]
    Version,
    /// No key opens it.
    #[error("none of the keys has made this link, or it has been altered")]
    Unverified,
    /// Its content is not a policy: another version of the program has made it.
    #[error("its policy has something that this version does not know")]
    Policy,
}

/// The reason why a link can't be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The cipher or the source of random bytes has failed.
    #[error("the cipher has failed")]
    Cipher,
    /// The policy is too long.
    #[error("the policy is too long: the link would have more than {MAX_CHARS} characters")]
    TooLong,
}

/// Makes a link of a policy, given as JSON.
///
/// # Errors
///
/// If the policy is too long, or the cipher fails.
pub fn seal(policy: &str, keys: &SharedKeys) -> Result<String, SealError> {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_| SealError::Cipher)?;
    let mut content = policy.as_bytes().to_vec();
    let key = cipher(keys.first()).ok_or(SealError::Cipher)?;
    let sealed = key.seal_in_place_append_tag(Nonce::from(&nonce), additional_data(), &mut content);
    sealed.map_err(|_| SealError::Cipher)?;
    let link = BASE64URL_NOPAD.encode(&[&[VERSION], &nonce[..], &content].concat());
    if link.len() > MAX_CHARS { Err(SealError::TooLong) } else { Ok(link) }
}

/// Opens a link with any of the keys. Whether the policy admits a client is not checked.
///
/// # Errors
///
/// The reason why this is not a link, or not one of these keys.
pub fn open(link: &str, keys: &SharedKeys) -> Result<TokenPolicy, LinkError> {
    if link.len() > MAX_CHARS {
        return Err(LinkError::NotALink);
    }
    let bytes = BASE64URL_NOPAD.decode(link.as_bytes()).map_err(|_| LinkError::NotALink)?;
    let (version, rest) = bytes.split_first().ok_or(LinkError::NotALink)?;
    if *version != VERSION {
        return Err(LinkError::Version);
    }
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(LinkError::NotALink)?;
    let content = keys.all().find_map(|key| {
        let mut content = sealed.to_vec();
        let opened = cipher(key)?.open_in_place(Nonce::from(nonce), additional_data(), &mut content);
        let length = opened.ok()?.len();
        content.truncate(length);
        Some(content)
    });
    let policy: TokenPolicy =
        json::object(&content.ok_or(LinkError::Unverified)?).map_err(|_| LinkError::Policy)?;
    if policy.target.is_empty() { Err(LinkError::Policy) } else { Ok(policy) }
}

fn cipher(key: &SharedKey) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM_SIV, &**key).ok().map(LessSafeKey::new)
}

fn additional_data() -> Aad<Vec<u8>> {
    Aad::from([PURPOSE, &[VERSION]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: &str = r#"{"target":"vm1.example:5900","expires":4102444800,"uses":1}"#;

    fn keys(names: &str) -> SharedKeys {
        let lines: Vec<_> = names.chars().map(|name| name.to_string().repeat(64)).collect();
        SharedKeys::parse(lines.join("\n").as_bytes()).unwrap()
    }

    #[test]
    fn a_link_holds_its_policy_and_gives_nothing_away() {
        let link = seal(POLICY, &keys("a")).unwrap();
        let policy = open(&link, &keys("a")).unwrap();
        assert_eq!(policy.target[0].to_string(), "vm1.example:5900");
        assert_eq!((policy.uses.map(u32::from), policy.expires.is_some()), (Some(1), true));
        let bytes = BASE64URL_NOPAD.decode(link.as_bytes()).unwrap();
        assert_eq!(bytes.len(), 1 + 12 + POLICY.len() + 16);
        for part in POLICY.as_bytes().windows(4) {
            assert!(!bytes.windows(4).any(|window| window == part));
        }
        assert_ne!(seal(POLICY, &keys("a")).unwrap(), link, "nonces differ");
    }

    #[test]
    fn the_first_key_makes_links_and_each_opens_them() {
        let old = seal(POLICY, &keys("a")).unwrap();
        let new = seal(POLICY, &keys("ba")).unwrap();
        for (opener, old_opens, new_opens) in [
            ("a", true, false),
            ("ab", true, true),
            ("ba", true, true),
            ("b", false, true),
            ("c", false, false),
        ] {
            assert_eq!(open(&old, &keys(opener)).is_ok(), old_opens, "{opener}");
            assert_eq!(open(&new, &keys(opener)).is_ok(), new_opens, "{opener}");
        }
        assert_eq!(open(&old, &keys("bc")), Err(LinkError::Unverified));
    }

    #[test]
    fn every_change_is_detected() {
        let keys = keys("a");
        let link = seal(POLICY, &keys).unwrap();
        let bytes = BASE64URL_NOPAD.decode(link.as_bytes()).unwrap();
        for bit in 0..8 * bytes.len() {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let error = if bit < 8 { LinkError::Version } else { LinkError::Unverified };
            assert_eq!(open(&BASE64URL_NOPAD.encode(&altered), &keys), Err(error), "{bit}");
        }
        for length in 0..link.len() {
            assert!(open(&link[..length], &keys).is_err(), "{length}");
        }
        for other in [format!("{link}A"), format!("{link}="), format!(" {link}"), format!("{link}\n")] {
            assert!(open(&other, &keys).is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_link_has_one_spelling() {
        let keys = keys("a");
        // Lengths of 1 and 2 modulo 3 leave unused bits in the last character.
        for user in ["a", "aa", "aaa"] {
            let link = seal(&format!(r#"{{"target":"h:1","user":"{user}"}}"#), &keys).unwrap();
            let spellings = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let opens = |last: &u8| {
                let other = format!("{}{}", &link[..link.len() - 1], char::from(*last));
                open(&other, &keys).is_ok()
            };
            assert_eq!(spellings.iter().filter(|last| opens(last)).count(), 1);
        }
    }

    #[test]
    fn content_that_is_not_a_policy_is_rejected() {
        for content in ["", "{}", "[\"h:1\"]", r#"{"target":"h:1","more":1}"#, r#"{"target":"h:1"} x"#] {
            let link = seal(content, &keys("a")).unwrap();
            assert_eq!(open(&link, &keys("a")), Err(LinkError::Policy), "{content}");
        }
        let long = format!(r#"{{"target":"h:1","user":"{}"}}"#, "x".repeat(3000));
        assert_eq!(seal(&long, &keys("a")), Err(SealError::TooLong));
    }

    proptest! {
        #[test]
        fn no_text_that_the_key_has_not_made_opens(text in "AQ[A-Za-z0-9_-]{0,80}|.{0,40}") {
            prop_assert!(open(&text, &keys("a")).is_err());
        }
    }
}
