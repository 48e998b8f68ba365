//! Values of options as the command line of the original has them, where the file writes them in another way.

use std::time::Duration;

use thiserror::Error;

use super::duration;

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

/// An interval in whole seconds; 0 is none.
pub(super) fn seconds(text: &str) -> Result<Duration, OptionError> {
    let seconds = integer(text).ok_or_else(|| {
        let text = format!("invalid integer value: '{}'", text.escape_debug());
        OptionError::new(text, "give whole seconds, or 0 for none")
    })?;
    let interval = u64::try_from(seconds).ok().map(Duration::from_secs);
    interval.filter(|interval| *interval <= duration::MAX).ok_or_else(|| {
        let help = "give whole seconds up to a year, or 0 for none";
        OptionError::new(format!("{seconds} seconds can't be an interval"), help)
    })
}

/// An integer as optparse reads it: decimal, `0x` hexadecimal, `0b` binary, or octal after a zero.
fn integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = if let Some(digits) = lower.strip_prefix("0x") {
        (digits, 16)
    } else if let Some(digits) = lower.strip_prefix("0b") {
        (digits, 2)
    } else {
        (text, if text.starts_with('0') { 8 } else { 10 })
    };
    i64::from_str_radix(digits, radix).ok()
}
