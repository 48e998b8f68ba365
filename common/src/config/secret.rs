//! Secrets, and files that hold nothing else.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroize;

use super::path::{FilePath, read_text};
use super::value::{Rejected, Value, text_value};

/// Longest file with a pass phrase, a password or a source that is read.
const MAX_FILE_BYTES: u64 = 4096;

/// Stands for a secret in a table that is to be printed.
pub(super) const HIDDEN: &str = "\u{1}hidden";

/// A pass phrase, a password or a token: never printed, not even by `Debug`. It is written only into what roles are
/// told.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A file that holds a secret and nothing else. It is read with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// Where it is.
    pub path: FilePath,
    /// What it holds, without the newline at its end.
    pub secret: Secret,
}

impl Value for SecretFile {
    const EXPECTED: &'static str = FilePath::EXPECTED;

    fn from_text(text: &str) -> Result<Self, Rejected> {
        Self::read(FilePath::from_text(text)?)
    }
}

text_value!(SecretFile);

impl SecretFile {
    /// Reads the file at `path`.
    pub(super) fn read(path: FilePath) -> Result<Self, Rejected> {
        let mut text = read_text(&path, MAX_FILE_BYTES).map_err(|problem| {
            let text = format!("{} {problem}", path.display());
            Rejected::new(text, "name a file that holds the secret and nothing else")
        })?;
        text.truncate(text.trim_end_matches(['\n', '\r']).len());
        Ok(Self { path, secret: Secret::new(text) })
    }

    /// Reads the source of a plugin, which stands in a file, if in one.
    pub(super) fn source(path: Option<&FilePath>) -> Result<Option<Secret>, Rejected> {
        let read = path.map(|path| Self::read(path.clone())).transpose();
        read.map(|file| file.map(|file| file.secret))
            .map_err(|error| Rejected { key: Some("source-file"), ..error })
    }
}

impl Serialize for SecretFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.path.serialize(serializer)
    }
}
