//! Error messages for command lines.

use std::fmt;

use clap::error::{ContextKind, ContextValue};

use super::options::USAGE;
use crate::config::file::FileError;
use crate::config::option::OptionError;
use crate::config::value::Rejected;
use crate::exit_code;

/// A rejected command line or configuration file. `Display` formats the text for standard error, without a
/// final newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    text: String,
    exit_code: u8,
}

impl CliError {
    /// The usage, a blank line and the error, in the format of the original.
    pub(super) fn usage(text: impl fmt::Display) -> Self {
        Self { text: format!("Usage: {USAGE}\n\nwebsockify: error: {text}"), exit_code: exit_code::USAGE }
    }

    /// An error in the file of `--config`.
    pub(super) fn in_file(error: FileError) -> Self {
        Self { text: error.to_string(), exit_code: exit_code::CONFIG }
    }

    /// An error found by clap. `expand` has already checked the names, so that it is about a value that is
    /// rejected by its type, or about a word that is not UTF-8.
    pub(super) fn from_clap(error: &clap::Error) -> Self {
        use std::error::Error;
        if let Some(problem) = error.source().and_then(|source| source.downcast_ref::<OptionError>()) {
            let name = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::String(name)) if !problem.names_option => name.split(' ').next(),
                _ => None,
            };
            let option = name.map(|name| format!("option {name}: ")).unwrap_or_default();
            let refused = Self::usage(format!("{option}{problem}"));
            return problem.help.iter().fold(refused, Self::help);
        }
        let rendered = error.render().to_string();
        let first = rendered.lines().next().unwrap_or_default();
        Self::usage(first.trim_start_matches("error: "))
    }

    /// An error from the type of a table.
    pub(super) fn rejected(rejected: Rejected) -> Self {
        Self::usage(rejected.text).help(rejected.help)
    }

    /// Adds a line of advice. The error itself remains a line of its own, as in the original, for
    /// scripts that search for it.
    pub(super) fn help(mut self, text: impl fmt::Display) -> Self {
        use fmt::Write;
        // Writing to a string can't fail.
        let _ = write!(self.text, "\nhelp: {text}");
        self
    }

    /// The exit status of the process.
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
