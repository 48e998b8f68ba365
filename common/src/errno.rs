//! Formats errors of system calls like Python, as in the original, whose messages scripts search for.

use std::fmt;
use std::io;

/// An error preceded by its number: `[Errno 98] Address already in use`.
#[derive(Clone, Copy, Debug)]
pub struct Numbered<'a>(pub &'a io::Error);

impl fmt::Display for Numbered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        match self.0.raw_os_error() {
            // The standard library appends the number to the text.
            Some(number) => {
                write!(f, "[Errno {number}] {}", text.split(" (os error").next().unwrap_or_default())
            }
            None => f.write_str(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_comes_first() {
        let in_use = io::Error::from_raw_os_error(98);
        assert_eq!(Numbered(&in_use).to_string(), "[Errno 98] Address already in use");
        assert_eq!(Numbered(&io::Error::other("no address")).to_string(), "no address");
    }
}
