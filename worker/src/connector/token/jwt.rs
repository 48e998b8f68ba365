//! `JWTTokenApi`: tokens that say themselves where they lead, and prove that they may.

use std::cell::RefCell;
use std::time::SystemTime;

use common::ipc::setup::TokenFiles;

use super::address;
use super::error::LookupError;
use crate::connector::jose::{self, claims, key::Key};
use crate::connector::target::Target;

/// Tokens that were made with one key.
#[derive(Default)]
pub(in crate::connector) struct Jwt {
    /// Nothing before its file has come, or when that can't be used.
    key: RefCell<Option<Key>>,
}

impl Jwt {
    /// Takes what the key's file holds now, and logs why it can't be used.
    pub(super) fn take_key(&self, files: &TokenFiles) {
        let key = files.files.first().and_then(|file| match Key::read(&file.content) {
            Ok(key) => Some(key),
            Err(error) => {
                tracing::error!("cannot use the key in {:?}: {error}", file.path);
                None
            }
        });
        *self.key.borrow_mut() = key;
    }

    /// The target that a token claims.
    pub(super) fn lookup(&self, token: &str) -> Result<Target, LookupError> {
        let key = self.key.borrow();
        let key =
            key.as_ref().ok_or_else(|| LookupError::Failed("there is no key to verify it with".into()))?;
        let payload = jose::open(token, key).map_err(|error| LookupError::Refused(error.to_string()))?;
        let (host, port) = claims::target(&payload, SystemTime::now())
            .map_err(|error| LookupError::Refused(error.to_string()))?;
        Ok(Target::Address(address::of_pair(&host, &port)?))
    }
}
