//! The configuration file: TOML, one instance each.
//!
//! Reading has three steps: `written` is the list of keys for serde, with the values' types in `value`;
//! `convert` turns what is written into a [`Config`]; `error` shows what is wrong and where. Relative
//! paths start at the file's folder. `listeners` reads a few keys alone.

mod convert;
mod error;
mod listeners;
#[cfg(test)]
mod tests;
mod value;
mod written;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Config;
pub use error::FileError;
pub use listeners::{ListenKeys, parse_listeners};

/// Largest file that is read: a thousand times what the longest sensible configuration needs.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Reads the configuration file at `path`, and the file of its `key-password-file`.
///
/// # Errors
/// If a file can't be read, or says something that can't be: always with the file's name, mostly with
/// line and column.
pub fn load(path: &Path) -> Result<Config, FileError> {
    let text = read_text(path, MAX_FILE_BYTES).map_err(|problem| FileError::whole(path, problem))?;
    parse(&text, path)
}

/// Reads `text` as if it stood in a file at `path`, which names the instance, the errors' place, and the
/// folder where relative paths start.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, path: &Path) -> Result<Config, FileError> {
    let problem = match toml::from_str(text) {
        Ok(written) => match convert::to_config(written, path) {
            Ok(config) => return Ok(config),
            Err(problem) => problem,
        },
        Err(error) => error::Problem::from_toml(&error),
    };
    Err(problem.in_text(path, text))
}

/// The whole of a file as text, or a sentence on why not.
fn read_text(path: &Path, limit: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("can't be read: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("is longer than {limit} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        format!("is not UTF-8 text (line {})", line + 1)
    })
}
