//! Standard output.

use std::io::{self, Write};

use common::log::Escaped;

use crate::instances::CtlError;

/// Writes to standard output. A closed pipe is not an error.
pub(crate) fn print(text: &str) -> Result<(), CtlError> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(CtlError::Output),
    }
}

/// Escapes control characters in an answer, which may come from a compromised instance. Line breaks are kept.
pub(crate) fn safe(text: &str) -> String {
    text.split('\n').map(|line| Escaped(line).to_string()).collect::<Vec<_>>().join("\n")
}

/// Escapes control characters in JSON text, whose value stays the same.
pub(crate) fn safe_json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || Escaped(c.encode_utf8(&mut [0; 4])).len() == c.len_utf8() {
            safe.push(c);
        } else {
            // Such characters occur in strings only (RFC 8259 section 7).
            safe.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_other_than_line_breaks_are_escaped() {
        assert_eq!(safe("a\n\u{1b}]0;b\u{7}\n\u{61c}c\n"), "a\n\\u{1b}]0;b\\u{7}\n\\u{61c}c\n");
    }

    #[test]
    fn escaped_json_keeps_its_value() {
        let value = serde_json::json!({"target": "a\u{1b}\u{9b}2J\u{202e}\u{e0041}ü\u{200b}b"});
        let text = safe_json(&serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(common::json::object::<serde_json::Value>(text.as_bytes()).unwrap(), value);
        assert!(text.contains("\\u009b2J\\u202e\\udb40\\udc41ü\\u200bb"), "{text}");
    }
}
