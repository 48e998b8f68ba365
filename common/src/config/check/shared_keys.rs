//! Checks of files with keys.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Problems, Severity};
use crate::shared_keys::{MAKE_A_KEY, SharedKeys};

/// Permissions of all users, as bits of a mode.
const FOR_ALL: u32 = 0o007;

impl Problems {
    /// The keys of links. A missing file is no error. `websockifyctl ticket` creates the instance's own one, `is_own`, for
    /// the first link.
    pub(super) fn link_keys(&mut self, path: &Path, is_own: bool) {
        if is_own && path.metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return;
        }
        self.keys("token.source", path, Severity::Warning, "make links with it");
    }

    /// A file with keys. Whoever knows or replaces one can do `what`.
    pub(super) fn keys(&mut self, key: &'static str, path: &Path, missing: Severity, what: &str) {
        let metadata = match path.metadata() {
            // Opening a FIFO would block.
            Ok(metadata) if metadata.is_file() => metadata,
            _ => return self.file(key, path, missing),
        };
        if metadata.permissions().mode() & FOR_ALL != 0 {
            let text = format!("{} is accessible to all users, who can {what}", path.display());
            self.add(Severity::Warning, key, text, format!("chmod o= {}", path.display()));
        }
        if let Err(problem) = SharedKeys::read(path) {
            self.add(Severity::Error, key, format!("{} {problem}", path.display()), MAKE_A_KEY);
        }
    }
}
