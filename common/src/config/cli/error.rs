//! What is said when a command line is refused.

use std::fmt;

use super::options::USAGE;
use crate::config::file::FileError;
use crate::exit_code;

/// A refused command line or configuration file. `Display` gives the text for standard error, without a
/// newline at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    text: String,
    exit_code: u8,
}

impl CliError {
    /// The usage, a blank line and the error, in the shape of the original.
    pub(super) fn usage(text: impl fmt::Display) -> Self {
        Self { text: format!("Usage: {USAGE}\n\nwebsockify: error: {text}"), exit_code: exit_code::USAGE }
    }

    /// An error in the file of `--config`.
    pub(super) fn in_file(error: FileError) -> Self {
        Self { text: error.to_string(), exit_code: exit_code::CONFIG }
    }

    /// What clap found. `expand` has seen to names and values, so that little is left: words that are
    /// not UTF-8 where text is needed.
    pub(super) fn from_clap(error: &clap::Error) -> Self {
        let rendered = error.render().to_string();
        let first = rendered.lines().next().unwrap_or_default();
        Self::usage(first.trim_start_matches("error: "))
    }

    /// Adds a line that says what to do. The line of the error itself stays as in the original, for
    /// whoever looks for it.
    pub(super) fn help(mut self, text: impl fmt::Display) -> Self {
        use fmt::Write;
        // Writing to a string can't fail.
        let _ = write!(self.text, "\nhelp: {text}");
        self
    }

    /// What the process exits with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CliError {}
