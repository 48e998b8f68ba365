//! `SignedLink`: links of `websockifyctl ticket`, which contain their policy.

use std::cell::RefCell;

use common::ipc::setup::TokenFiles;
use common::shared_keys::SharedKeys;
use common::tokens::policy::TokenPolicy;

use super::error::LookupError;

/// Opens links with the keys of one file.
#[derive(Default)]
pub(in crate::connector) struct SignedLink {
    /// The keys; `None` before their file has arrived, or if it can't be used.
    keys: RefCell<Option<SharedKeys>>,
}

impl SignedLink {
    /// Loads the keys from the current content of their file. Logs an error if it can't be used.
    pub(super) fn take_keys(&self, files: &TokenFiles) {
        let keys = files.files.first().and_then(|file| match SharedKeys::parse(&file.content) {
            Ok(keys) => Some(keys),
            Err(error) => {
                tracing::error!("cannot use the keys of links in {:?}: {error}", file.path);
                None
            }
        });
        *self.keys.borrow_mut() = keys;
    }

    /// Opens a link.
    pub(super) fn lookup(&self, link: &str) -> Result<TokenPolicy, LookupError> {
        let keys = self.keys.borrow();
        let keys =
            keys.as_ref().ok_or_else(|| LookupError::Failed("there is no key to open links with".into()))?;
        link::open(link, keys).map_err(|error| LookupError::Refused(error.to_string()))
    }
}
