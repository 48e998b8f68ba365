//! `JWTTokenApi`: signed tokens that contain their target, and their policy.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::SystemTime;

use common::ipc::setup::TokenFiles;
use common::tokens::address;

use super::error::LookupError;
use super::found::Found;
use crate::connector::jose::{self, claims, key::Key};

/// Verifies tokens with one key.
#[derive(Default)]
pub(in crate::connector) struct Jwt {
    /// The key; `None` before its file has arrived, or if it can't be used.
    key: RefCell<Option<Key>>,
}

impl Jwt {
    /// Loads the key from the current content of its file. Logs an error if it can't be used.
    pub(super) fn take_key(&self, files: &TokenFiles) {
        let key = files.files.first().and_then(|file| match Key::read(&file.content) {
            Ok(key) => {
                if let Some(length) = key.odd_length() {
                    tracing::warn!(
                        "the shared secret in {:?} has {length} bytes, more than any hash uses: \
                         if it is a part of a public key, anyone can create tokens",
                        file.path,
                    );
                }
                Some(key)
            }
            Err(error) => {
                tracing::error!("cannot use the key in {:?}: {error}", file.path);
                None
            }
        });
        *self.key.borrow_mut() = key;
    }

    /// Verifies a token. Returns where it leads, and its policy.
    pub(super) fn lookup(&self, token: &str) -> Result<Found, LookupError> {
        let key = self.key.borrow();
        let key =
            key.as_ref().ok_or_else(|| LookupError::Failed("there is no key to verify it with".into()))?;
        let refused = |error: &dyn std::error::Error| LookupError::Refused(error.to_string());
        let opened = jose::open(token, key).map_err(|error| refused(&error))?;
        let claims = claims::read(&opened.payload, SystemTime::now()).map_err(|error| refused(&error))?;
        let target = claims.pair.map(|(host, port)| address::of_pair(&host, &port)).transpose()?;
        let mut found = Found::in_json(target, claims.policy).map_err(|error| refused(&error))?;
        if let Some((policy, exp)) = found.policy.as_mut().zip(claims.exp) {
            Rc::make_mut(policy).expire_by(exp);
        }
        // A signature can be written in several ways, and a client may encrypt a token anew.
        found.identity = Some(opened.signed);
        Ok(found)
    }
}
