//! Secrets, and the files that contain them.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroize;

use super::path::{FilePath, read_text};
use super::value::{Rejected, Value, text_value};

/// Maximum size of a secret's file in bytes.
const MAX_FILE_BYTES: u64 = 4096;

/// Placeholder for a secret while a table is printed.
pub(super) const HIDDEN: &str = "\u{1}hidden";

/// A pass phrase, a password or a token. It is never printed, not even by `Debug`, and is serialised in
/// messages to roles only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the secret. Each caller must have a reason to see it.
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

/// A file that contains a secret and nothing else. It is read together with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// Path of the file.
    pub path: FilePath,
    /// Content of the file without the final newline.
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

    /// Reads the source of a plugin from `source-file`, if that is given.
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
