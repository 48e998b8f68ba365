//! The configuration file: TOML, one instance each.
//!
//! serde reads it by the declarations of the tables; `error` shows what is wrong and where; `listeners` reads a few
//! keys alone. Relative paths start at the file's directory.

mod error;
mod listeners;
#[cfg(test)]
mod tests;

use std::path::Path;

use super::path::{read_text, relative_to};
use super::rules;
use super::top::{Config, instance_name};
pub use error::FileError;
use error::Problem;
pub use listeners::{ListenKeys, parse_listeners};

/// Largest file that is read: a thousand times what the longest sensible configuration needs.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Reads the configuration file at `path`, and the files that hold secrets of it.
///
/// # Errors
/// If a file can't be read, or says something that can't be: always with the file's name, mostly with
/// line and column.
pub fn load(path: &Path) -> Result<Config, FileError> {
    let text = read_text(path, MAX_FILE_BYTES).map_err(|problem| FileError::whole(path, problem))?;
    parse(&text, path)
}

/// Reads `text` as if it stood in a file at `path`, which names the instance, the errors' place, and the
/// directory where relative paths start.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, path: &Path) -> Result<Config, FileError> {
    // A file named without a directory stands in the current one, which then is the empty path.
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
