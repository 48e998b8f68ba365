//! Checks of the file with the keys of links.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Problems, Severity};
use crate::config::path::read_bytes;
use crate::tokens::link_keys::{LinkKeys, MAKE_A_KEY, MAX_FILE_BYTES};

/// Permissions of all users, as bits of a mode. Whoever reads a key can make links, and whoever writes one too.
const FOR_ALL: u32 = 0o007;

impl Problems {
    /// A missing file is no error. `websockifyctl ticket` creates the instance's own one, `is_own`, for the first link.
    pub(super) fn link_keys(&mut self, path: &Path, is_own: bool) {
        const KEY: &str = "token.source";
        let metadata = match path.metadata() {
            // Opening a FIFO would block.
            Ok(metadata) if metadata.is_file() => metadata,
            Err(error) if is_own && error.kind() == ErrorKind::NotFound => return,
            _ => return self.file(KEY, path, Severity::Warning),
        };
        if metadata.permissions().mode() & FOR_ALL != 0 {
            let text = format!("{} is accessible to all users, who can make links with it", path.display());
            self.add(Severity::Warning, KEY, text, format!("chmod o= {}", path.display()));
        }
        let problem = match read_bytes(path, MAX_FILE_BYTES) {
            Ok(content) => match LinkKeys::parse(&content) {
                Ok(_) => return,
                Err(error) => format!("{}: {error}", path.display()),
            },
            Err(problem) => format!("{} {problem}", path.display()),
        };
        self.add(Severity::Error, KEY, problem, MAKE_A_KEY);
    }
}
