//! Checks of the wrapped program before it is started.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use nix::sys::prctl;
use rustix::process::{getegid, geteuid};

use super::{Problems, Severity};
use crate::config::wrap::Wrap;
use crate::executable::{self, Caller, FindError};
use crate::user::Account;

/// Help for files that this process can't see. The program itself may see them, for instance a home directory
/// that the unit hides with `ProtectHome=`.
const HIDDEN: &str = "run the check as a user who can access it";

impl Problems {
    /// Checks that the program can be started. With `moves`, checks that its port can be moved.
    pub(super) fn wrap(&mut self, wrap: &Wrap, moves: bool) {
        let user = wrap.user.as_deref().and_then(|name| self.user("wrap.user", name));
        let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
        let start = wrap.directory.as_deref().unwrap_or(&here);
        if let Some(directory) = &wrap.directory {
            self.start_directory(directory);
        }
        self.command(wrap, moves, start, user.as_ref());
    }

    fn command(&mut self, wrap: &Wrap, moves: bool, directory: &Path, user: Option<&Account>) {
        const KEY: &str = "wrap.command";
        let name = wrap.command.first().cloned().unwrap_or_default();
        let shown = name.to_string_lossy().escape_debug().to_string();
        let program = match executable::find(&name, &search_path(wrap), directory) {
            Ok(program) => program,
            Err(error @ FindError::Hidden { .. }) => {
                return self.add(Severity::Warning, KEY, format!("\"{shown}\": {error}"), HIDDEN);
            }
            Err(error) => {
                let help = "install it, or name an existing program";
                return self.add(Severity::Error, KEY, format!("\"{shown}\": {error}"), help);
            }
        };
        if !moves {
            return;
        }
        let caller = Caller {
            uid: user.map_or(geteuid().as_raw(), |user| user.uid),
            gid: user.map_or(getegid().as_raw(), |user| user.gid),
            no_new_privileges: prctl::get_no_new_privs().unwrap_or(false),
        };
        if let Some((file, obstacle)) = executable::obstacle(&program, caller) {
            let file = file.to_string_lossy();
            self.add(
                Severity::Error,
                KEY,
                format!("{} {obstacle}, so that its port can't be moved", file.escape_debug()),
                "configure it to listen on another port, and use that port as `target`",
            );
        }
    }

    fn start_directory(&mut self, directory: &Path) {
        const KEY: &str = "wrap.directory";
        match fs::metadata(directory) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                let text = format!("{} is not a directory", directory.display());
                self.add(Severity::Error, KEY, text, "name a directory");
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let text = format!("{} can't be accessed: {error}", directory.display());
                self.add(Severity::Warning, KEY, text, HIDDEN);
            }
            Err(_) => {
                let text = format!("there is no directory {}", directory.display());
                self.add(Severity::Error, KEY, text, "create the directory, or name another");
            }
        }
    }
}

/// The search path for the program.
fn search_path(wrap: &Wrap) -> OsString {
    let own = wrap.environment.get("PATH").map(OsString::from);
    own.or_else(|| std::env::var_os("PATH")).unwrap_or_else(|| Wrap::DEFAULT_PATH.into())
}
