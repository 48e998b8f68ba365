//! `JWTTokenApi`: signed tokens that contain their target.

use std::cell::RefCell;
use std::time::SystemTime;

use common::ipc::setup::TokenFiles;
use common::tokens::address;

use super::error::LookupError;
use crate::connector::jose::{self, claims, key::Key};
use crate::connector::target::Target;

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

    /// Verifies a token and returns its target.
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
