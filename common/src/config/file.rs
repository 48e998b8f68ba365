//! The configuration file: TOML, one file for each instance.
//!
//! serde parses it by the declarations of the tables. `error` formats errors with their place. `listeners`
//! parses a few keys on their own. Relative paths start at the directory of the file.

mod error;
mod listeners;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::de::DeserializeOwned;

use super::path::{read_text, relative_to, utf8_text};
use super::rules;
use super::top::{Config, instance_name};
pub use error::FileError;
use error::Problem;
pub use listeners::{ListenKeys, parse_listeners};

/// Maximum file size in bytes, a thousand times what the longest sensible configuration needs.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Reads the configuration file at `path`, and the files of secrets that it names.
///
/// # Errors
///
/// Fails if a file can't be read or is invalid. The error has the name of the file, and usually line and
/// column.
pub fn load(path: &Path) -> Result<Config, FileError> {
    let text = read_text(path, MAX_FILE_BYTES).map_err(|problem| FileError::whole(path, problem))?;
    parse(&text, path)
}

/// Parses `text` as the content of the file at `path`, which determines the name of the instance, the file
/// name in errors, and the base directory of relative paths.
///
/// # Errors
///
/// The same as those of [`load`].
pub fn parse(text: &str, path: &Path) -> Result<Config, FileError> {
    // The parent of a file name without a directory is the empty path, which means the current directory.
    let base = path.parent().unwrap_or(Path::new(""));
    let problem = match relative_to(base, || toml::from_str::<Config>(text)) {
        Ok(config) => match rules::conflict(&config) {
            None => return Ok(Config { name: instance_name(path), ..config }),
            Some(conflict) => Problem::from_conflict(conflict, text),
        },
        Err(error) => Problem::from_toml(&error, text),
    };
    Err(problem.in_text(path, text))
}

/// Parses `content` as the content of another TOML file of the administrator's, at `path`. Errors show no line, as
/// each may hold a secret, and no name that is not a known one.
pub(crate) fn parse_secret<T: DeserializeOwned>(content: &[u8], path: &Path) -> Result<T, FileError> {
    let text = utf8_text(content).map_err(|problem| FileError::whole(path, problem))?;
    let read = toml::from_str(text);
    read.map_err(|error| Problem::from_toml(&error, text).without_names().in_text(path, text).without_line())
}
