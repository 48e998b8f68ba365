//! `BasicHTTPAuth` with several users: names and hashes of passwords from a file (RFC 7617).
//!
//! A password that was right counts for some minutes without another hash, since a page of a browser sends it with each
//! of its files. It is remembered as a keyed hash together with the user's line, so that a changed line ends that.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use common::config::Secret;
use common::htpasswd;
use common::ipc::ClientAddr;

use super::basic::{self, WRONG};
use super::error::AuthError;
use crate::connector::hashing::{Busy, Hashing};

/// Maximum length of a password in bytes, as in crypt(3).
const MAX_PASSWORD_BYTES: usize = 512;

/// Time for which a verified password counts.
const VERIFIED_FOR: Duration = Duration::from_secs(300);

/// Maximum number of verified passwords that are remembered.
const MAX_VERIFIED: usize = 1024;

type Tag = [u8; 32];

/// The users and their passwords.
pub(in crate::connector) struct Users {
    hashes: RefCell<BTreeMap<String, Secret>>,
    hashing: Hashing,
    /// The key of what is remembered, known to this process alone.
    key: hmac::Key,
    /// When passwords were verified.
    verified: RefCell<BTreeMap<Tag, Instant>>,
}

impl Users {
    /// Knows no user yet. To be called before the sandbox is entered.
    ///
    /// # Errors
    ///
    /// Fails if there is no randomness.
    pub(super) fn new() -> Result<Self, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(Self {
            hashes: RefCell::default(),
            hashing: Hashing::new(),
            key: key.map_err(|_| "no randomness")?,
            verified: RefCell::default(),
        })
    }

    /// Replaces the users.
    pub(super) fn take(&self, users: htpasswd::Users) {
        self.hashes.replace(users.0.into_iter().collect());
    }

    /// Checks an `Authorization` field. Returns the name of the user.
    ///
    /// An unknown user takes as long as a known one: the password is compared with a hash that the name selects, so that
    /// neither the time nor its spread over several names tells which ones are known.
    pub(super) async fn authenticate(
        &self,
        authorization: Option<&str>,
        client: &ClientAddr,
    ) -> Result<String, AuthError> {
        let credentials = basic::credentials(authorization)?;
        let credentials = Secret::new(text(&credentials));
        let (user, password) = credentials.reveal().split_once(':').ok_or(AuthError::Unauthorized(WRONG))?;
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(AuthError::Unauthorized(WRONG));
        }
        let Some((hash, is_known)) = self.hash(user) else { return Err(AuthError::Unauthorized(WRONG)) };
        let tag = self.tag(&[user.as_bytes(), hash.reveal().as_bytes(), password.as_bytes()]);
        if is_known && self.is_verified(&tag) {
            return Ok(user.to_owned());
        }
        let verified = self.hashing.verify(client, hash, Secret::new(password.to_owned())).await;
        match verified.map_err(|Busy| AuthError::Busy)? && is_known {
            true => {
                self.remember(tag);
                Ok(user.to_owned())
            }
            false => Err(AuthError::Unauthorized(WRONG)),
        }
    }

    /// The hash of a user's password, or that of another user, which the name selects; `None` if there are no users.
    fn hash(&self, user: &str) -> Option<(Secret, bool)> {
        let hashes = self.hashes.borrow();
        if let Some(hash) = hashes.get(user) {
            return Some((hash.clone(), true));
        }
        let [a, b, c, d, ..] = self.tag(&[user.as_bytes()]);
        let place = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?.checked_rem(hashes.len())?;
        hashes.values().nth(place).map(|hash| (hash.clone(), false))
    }

    /// A keyed hash of some parts.
    fn tag(&self, parts: &[&[u8]]) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut tag = Tag::default();
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    fn is_verified(&self, tag: &Tag) -> bool {
        self.verified.borrow().get(tag).is_some_and(|then| then.elapsed() < VERIFIED_FOR)
    }

    fn remember(&self, tag: Tag) {
        let mut verified = self.verified.borrow_mut();
        if verified.len() >= MAX_VERIFIED {
            let oldest = verified.iter().min_by_key(|(_, then)| **then).map(|(tag, _)| *tag);
            oldest.and_then(|oldest| verified.remove(&oldest));
        }
        verified.insert(tag, Instant::now());
    }
}

/// Decodes UTF-8, or else ISO 8859-1, as clients use both.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding};

    use super::*;

    /// The password is `secret`, with the smallest cost.
    const HASH: &str = "$2y$04$1GE.ufdNyU9Lxrad3Z1z.OmhLKZCR.coyqqiit9OSICb.UVfmGB1O";

    fn users(names: &[&str]) -> Users {
        let users = Users::new().unwrap();
        let lines = names.iter().map(|name| ((*name).to_owned(), Secret::new(HASH.to_owned())));
        users.take(htpasswd::Users(lines.collect()));
        users
    }

    async fn try_out(users: &Users, credentials: &[u8]) -> Result<String, AuthError> {
        let client = ClientAddr::Ip(([192, 0, 2, 7], 40000).into());
        let field = format!("Basic {}", Base64::encode_string(credentials));
        users.authenticate(Some(&field), &client).await
    }

    #[tokio::test]
    async fn a_user_is_known_by_name_and_password() {
        let users = users(&["anna", "bärt"]);
        assert_eq!(try_out(&users, b"anna:secret").await, Ok("anna".to_owned()));
        assert_eq!(try_out(&users, "bärt:secret".as_bytes()).await, Ok("bärt".to_owned()));
        assert_eq!(try_out(&users, b"b\xe4rt:secret").await, Ok("bärt".to_owned()));
        for wrong in ["anna:", "anna:Secret", "anna:secret ", "Anna:secret", ":secret", "ceci:secret", ":"] {
            assert_eq!(
                try_out(&users, wrong.as_bytes()).await,
                Err(AuthError::Unauthorized(WRONG)),
                "{wrong}"
            );
        }
        let long = format!("anna:{}", "x".repeat(MAX_PASSWORD_BYTES + 1));
        assert_eq!(try_out(&users, long.as_bytes()).await, Err(AuthError::Unauthorized(WRONG)));
        assert_eq!(users.verified.borrow().len(), 2, "only right passwords are remembered");
    }

    #[tokio::test]
    async fn a_line_that_is_removed_or_changed_counts_at_once() {
        let users = users(&["anna", "bert"]);
        assert!(try_out(&users, b"anna:secret").await.is_ok());
        users.take(htpasswd::Users(vec![("bert".into(), Secret::new(HASH.into()))]));
        assert!(try_out(&users, b"anna:secret").await.is_err());
        users.take(htpasswd::Users(Vec::new()));
        assert!(try_out(&users, b"bert:secret").await.is_err());
    }

    #[test]
    fn an_unknown_user_is_compared_with_a_hash_that_the_name_selects() {
        let users = users(&["anna", "bert"]);
        assert_eq!(users.hash("anna").map(|(_, is_known)| is_known), Some(true));
        assert_eq!(users.hash("ceci"), Some((Secret::new(HASH.into()), false)));
        users.take(htpasswd::Users(Vec::new()));
        assert_eq!(users.hash("anna"), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let users = users(&[]);
        for number in 0..=MAX_VERIFIED {
            users.remember(users.tag(&[&number.to_be_bytes()]));
        }
        assert_eq!(users.verified.borrow().len(), MAX_VERIFIED);
        assert!(!users.is_verified(&users.tag(&[&0_usize.to_be_bytes()])), "the oldest is forgotten");
    }
}
