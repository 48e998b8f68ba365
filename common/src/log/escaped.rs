//! Escaping of untrusted text.

use std::fmt::{self, Write};

/// Untrusted text, made safe for a terminal and a log. Escaped are control characters, characters that change
/// the direction of writing, invisible ones, spaces that look like the usual one, and code points that
/// Unicode has not assigned.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl Escaped<'_> {
    /// Length of the escaped text in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        let mut count = Count(0);
        // Counting never fails.
        let _ = write!(count, "{self}");
        count.0
    }

    /// Whether the text is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0;
        while let Some(at) = shown.find(is_misleading) {
            let (plain, rest) = shown.split_at(at);
            f.write_str(plain)?;
            let mut rest = rest.chars();
            if let Some(c) = rest.next() {
                write!(f, "{}", c.escape_default())?;
            }
            shown = rest.as_str();
        }
        f.write_str(shown)
    }
}

struct Count(usize);

impl Write for Count {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// Whether a character can be mistaken for another or changes how others are displayed.
fn is_misleading(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    is_invisible(c) || !is_printable(c)
}

/// Invisible letters and marks that count as printable (Unicode's `Default_Ignorable_Code_Point`).
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether the standard library considers a character printable. Alone, a combining mark does not count as
/// printable; after a letter it does.
fn is_printable(c: char) -> bool {
    let mut behind_letter = String::with_capacity(1 + c.len_utf8());
    behind_letter.extend(['a', c]);
    behind_letter.escape_debug().nth(1) == Some(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_clients_are_escaped() {
        let forged = "a\r\nroot: all is well\u{1b}[2J\u{202e}x ü";
        assert_eq!(Escaped(forged).to_string(), "a\\r\\nroot: all is well\\u{1b}[2J\\u{202e}x ü");
        assert_eq!(Escaped(forged).len(), Escaped(forged).to_string().len());
    }

    #[test]
    fn characters_that_change_how_text_is_displayed_are_escaped() {
        let invisible = [
            0..=0x1f,
            0x7f..=0xa0,
            0xad..=0xad,
            0x34f..=0x34f,
            0x600..=0x605,
            0x61c..=0x61c,
            0x6dd..=0x6dd,
            0x70f..=0x70f,
            0x890..=0x891,
            0x8e2..=0x8e2,
            0x115f..=0x1160,
            0x1680..=0x1680,
            0x17b4..=0x17b5,
            0x180b..=0x180f,
            0x2000..=0x200f,
            0x2028..=0x202f,
            0x205f..=0x206f,
            0x2800..=0x2800,
            0x3000..=0x3000,
            0x3164..=0x3164,
            0xe000..=0xf8ff,
            0xfe00..=0xfe0f,
            0xfeff..=0xfeff,
            0xffa0..=0xffa0,
            0xfff0..=0xfffb,
            0xfffe..=0xffff,
            0x110bd..=0x110bd,
            0x110cd..=0x110cd,
            0x13430..=0x1343f,
            0x1bca0..=0x1bca3,
            0x1d173..=0x1d17a,
            0xe0000..=0xe0fff,
            0xf0000..=0x10ffff,
        ];
        for c in invisible.into_iter().flatten().filter_map(char::from_u32) {
            let shown = Escaped(&format!("a{c}b")).to_string();
            assert!(shown.is_ascii() && shown.contains('\\'), "U+{:04X}: {shown:?}", u32::from(c));
        }
    }

    #[test]
    fn ordinary_text_is_unchanged() {
        for text in [
            "",
            "C:\\dir \"it's\"",
            "Grüße, Ελλάδα, Привет",
            "日本語、한국어",
            "हिन्दी ภาษาไทย",
            "e\u{301}",
            "שלום مرحبا",
            "→ € 😀",
        ] {
            assert_eq!(Escaped(text).to_string(), text);
        }
    }
}
