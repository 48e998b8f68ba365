//! Paths in a configuration, and reading files.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer, ser};

use super::value::{Rejected, Value, quoted, text_value};

thread_local! {
    /// Base directory of relative paths while a configuration is read.
    static BASE: RefCell<PathBuf> = RefCell::default();
}

/// Calls `read` with `base` as the base directory of relative paths in the configuration that it reads.
pub(super) fn relative_to<T>(base: &Path, read: impl FnOnce() -> T) -> T {
    let before = BASE.replace(base.to_owned());
    let result = read();
    BASE.set(before);
    result
}

/// Resolves `path` against the base directory of the configuration that is being read.
pub(super) fn resolve(path: impl AsRef<Path>) -> PathBuf {
    BASE.with_borrow(|base| base.join(path))
}

/// A path in a configuration. A relative path starts at the directory of the file, or at the current
/// directory if it is given on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilePath(PathBuf);

impl Deref for FilePath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for FilePath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl From<&str> for FilePath {
    fn from(path: &str) -> Self {
        Self(resolve(path))
    }
}

impl From<PathBuf> for FilePath {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl From<OsString> for FilePath {
    /// Converts the value of an option. An empty value is kept, as it means none.
    fn from(path: OsString) -> Self {
        Self(if path.is_empty() { PathBuf::new() } else { resolve(path) })
    }
}

impl Value for FilePath {
    const EXPECTED: &'static str = "a path in quotes";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        if text.is_empty() || text.contains('\0') {
            let help = "write the path of a file, or leave the key out";
            return Err(Rejected::new(format!("{} is not a path", quoted(text)), help));
        }
        Ok(Self(resolve(text)))
    }
}

text_value!(FilePath);

impl Serialize for FilePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(utf8(&self.0)?)
    }
}

/// Returns a path as UTF-8, which TOML requires and file names may violate.
pub(crate) fn utf8<E: ser::Error>(path: &Path) -> Result<&str, E> {
    path.to_str().ok_or_else(|| E::custom(format!("{path:?} can't be written in TOML: it is not UTF-8")))
}

/// Reads a file of at most `limit` bytes. The error is for the user, to follow the name of the file.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("can't be read: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("is longer than {limit} bytes"));
    }
    Ok(bytes)
}

/// Reads a whole file as text. The error is a sentence without the file name.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<String, String> {
    utf8_text(&read_bytes(path, limit)?).map(str::to_owned)
}

/// Returns the content of a file as text. The error is a sentence without the file name.
pub(super) fn utf8_text(content: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(content).map_err(|error| {
        let line = content[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        format!("is not UTF-8 text (line {})", line + 1)
    })
}
