//! Warnings about fields of policies that this version does not know.

use std::cell::RefCell;
use std::collections::BTreeSet;

use common::tokens::policy::TokenPolicy;

/// Maximum number of names that are logged.
const MAX_NAMES: usize = 32;

/// Maximum length of a name in the log, in characters.
const MAX_SHOWN: usize = 64;

/// The names that were logged.
#[derive(Default)]
pub(in crate::connector) struct UnknownFields(RefCell<BTreeSet<String>>);

impl UnknownFields {
    /// Logs each name once, as the first token that has it is not the last.
    pub(in crate::connector) fn warn_of(&self, names: Vec<String>) {
        for name in names {
            if let Some(line) = self.line_about(&name) {
                tracing::warn!("{line}");
            }
        }
    }

    fn line_about(&self, name: &str) -> Option<String> {
        let shown: String = name.chars().take(MAX_SHOWN).collect();
        let mut logged = self.0.borrow_mut();
        if logged.len() == MAX_NAMES || !logged.insert(shown.clone()) {
            return None;
        }
        let advice = TokenPolicy::similar_field(name).map(|field| format!("; did you mean `{field}`?"));
        let shown = shown.escape_debug();
        let advice = advice.unwrap_or_default();
        Some(format!(
            "the policy of a token has a field `{shown}`, which is unknown and not enforced{advice}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_logged_once_in_bounds() {
        let fields = UnknownFields::default();
        let line = fields.line_about("lifetme").unwrap();
        assert!(line.contains("`lifetme`") && line.ends_with("did you mean `lifetime`?"), "{line}");
        assert_eq!(fields.line_about("lifetme"), None);
        let line = fields.line_about(&"\n\u{1b}".repeat(1000)).unwrap();
        assert!(line.len() < 600 && !line.contains(char::is_control), "{line}");
        let lines = (0..1000).filter_map(|number| fields.line_about(&number.to_string())).count();
        assert_eq!(lines, MAX_NAMES - 2);
    }
}
