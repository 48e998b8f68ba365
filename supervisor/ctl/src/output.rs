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

/// What an instance has answered, which may be in wrong hands, without what a terminal would obey. Lines stay lines.
pub(crate) fn safe(text: &str) -> String {
    text.split('\n').map(|line| Escaped(line).to_string()).collect::<Vec<_>>().join("\n")
}

/// The same for JSON, which stays the same JSON.
pub(crate) fn safe_json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || Escaped(c.encode_utf8(&mut [0; 4])).len() == c.len_utf8() {
            safe.push(c);
        } else {
            // Only strings hold such characters (RFC 8259 section 7).
            safe.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_shown_line_by_line_and_nothing_in_them_is_obeyed() {
        assert_eq!(safe("a\n\u{1b}]0;b\u{7}\n\u{61c}c\n"), "a\n\\u{1b}]0;b\\u{7}\n\\u{61c}c\n");
    }

    #[test]
    fn json_stays_json() {
        let value = serde_json::json!({"target": "a\u{1b}\u{9b}2J\u{202e}\u{e0041}ü\u{200b}b"});
        let text = safe_json(&serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        assert!(text.contains("\\u009b2J\\u202e\\udb40\\udc41ü\\u200bb"), "{text}");
    }
}
