//! Values of options that the file writes in another form.

use thiserror::Error;

/// The reason why the value of an option is rejected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct OptionError {
    pub(super) text: String,
    pub(super) help: Option<String>,
    /// The message is printed without the option's name before it, as in the original.
    pub(super) names_option: bool,
}

impl OptionError {
    pub(super) fn new(text: impl Into<String>, help: impl Into<String>) -> Self {
        Self { text: text.into(), help: Some(help.into()), names_option: false }
    }

    /// The value is not one of `choices`.
    pub(super) fn choice(text: &str, choices: &[&str]) -> Self {
        let choices = choices.join("', '");
        let text = format!("invalid choice: '{}' (choose from '{choices}')", text.escape_debug());
        Self { text, help: None, names_option: false }
    }
}
