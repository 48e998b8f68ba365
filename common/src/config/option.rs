//! Values of options as the command line of the original has them, where the file writes them in another way.

use thiserror::Error;

/// Why an option's value can't be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct OptionError {
    pub(super) text: String,
    pub(super) help: Option<String>,
    /// The text stands alone, as in the original, without the option's name before it.
    pub(super) names_option: bool,
}

impl OptionError {
    pub(super) fn new(text: impl Into<String>, help: impl Into<String>) -> Self {
        Self { text: text.into(), help: Some(help.into()), names_option: false }
    }

    /// Not one of `choices`.
    pub(super) fn choice(text: &str, choices: &[&str]) -> Self {
        let choices = choices.join("', '");
        let text = format!("invalid choice: '{}' (choose from '{choices}')", text.escape_debug());
        Self { text, help: None, names_option: false }
    }
}
