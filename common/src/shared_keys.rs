//! Keys that several machines may share: a file with one key or two, each a line of 64 hexadecimal digits.
//!
//! The first key makes what is protected by it, such as links and session tickets, and each verifies it. So a key can be
//! replaced on all machines: add the new one as the second line everywhere, make it the first, and remove the old one
//! when what it has made has expired.

use std::fmt;
use std::io;
use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use crate::config::path::read_bytes;
use crate::tokens::hexadecimal;

/// Length of a key in bytes.
pub const KEY_BYTES: usize = 32;

/// Maximum number of keys in a file.
const MAX_KEYS: usize = 2;

/// Maximum size of the file in bytes.
pub const MAX_FILE_BYTES: u64 = 4096;

/// How to write the file, for advice.
pub const MAKE_A_KEY: &str =
    "write one key or two, each on a line of its own, as `openssl rand -hex 32` prints them";

/// A key.
pub type SharedKey = Zeroizing<[u8; KEY_BYTES]>;

/// The keys of a file, at least one.
pub struct SharedKeys(Vec<SharedKey>);

/// The reason why a file has no keys. It shows nothing of the file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharedKeysError {
    /// The line of this number is not a key.
    #[error("line {0} is not a key of 64 hexadecimal digits")]
    Line(usize),
    /// The file has no line with a key.
    #[error("there is no key in it")]
    None,
    /// The file has too many keys.
    #[error("there are more than {MAX_KEYS} keys in it")]
    TooMany,
}

impl SharedKeys {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The reason for the administrator, to follow the name of the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let content = Zeroizing::new(read_bytes(path, MAX_FILE_BYTES)?);
        Self::parse(&content).map_err(|error| format!("can't be used: {error}"))
    }

    /// Parses the content of a file. Empty lines, and comments that begin with `#`, are ignored.
    ///
    /// # Errors
    ///
    /// If a line is not a key, or the number of keys is wrong.
    pub fn parse(content: &[u8]) -> Result<Self, SharedKeysError> {
        let mut keys = Vec::new();
        for (number, line) in content.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let key = std::str::from_utf8(line).ok().and_then(hexadecimal);
            keys.push(Zeroizing::new(key.ok_or(SharedKeysError::Line(number + 1))?));
        }
        match keys.len() {
            0 => Err(SharedKeysError::None),
            1..=MAX_KEYS => Ok(Self(keys)),
            _ => Err(SharedKeysError::TooMany),
        }
    }

    /// Generates the content of a file with one random key.
    ///
    /// # Errors
    ///
    /// If getrandom(2) fails.
    pub fn generate() -> io::Result<Zeroizing<String>> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        // getrandom(2) never returns fewer bytes for such a short request.
        if getrandom(&mut *key, GetRandomFlags::empty())? != KEY_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The buffer has its final capacity from the beginning, as growing would leave copies of the key behind.
        let mut content = Zeroizing::new(String::with_capacity(2 * KEY_BYTES + 1));
        for byte in *key {
            content.extend(
                [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])),
            );
        }
        content.push('\n');
        Ok(content)
    }

    /// The key that makes links.
    #[must_use]
    pub fn first(&self) -> &SharedKey {
        // There is at least one.
        &self.0[0]
    }

    /// All keys, which verify links.
    pub fn all(&self) -> impl Iterator<Item = &SharedKey> {
        self.0.iter()
    }
}

impl fmt::Debug for SharedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedKeys({} of them)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(content: &str) -> Result<usize, SharedKeysError> {
        SharedKeys::parse(content.as_bytes()).map(|keys| keys.all().count())
    }

    #[test]
    fn a_file_has_one_key_or_two() {
        let (one, two) = ("0a".repeat(32), "Ff".repeat(32));
        assert_eq!(count(&one), Ok(1));
        assert_eq!(count(&format!("# made today\n\n {one}\r\n{two}\n")), Ok(2));
        assert_eq!(count(&format!("{one}\n{two}\n{one}\n")), Err(SharedKeysError::TooMany));
        assert_eq!(count("# none\n"), Err(SharedKeysError::None));
        for wrong in ["x", &one[1..], &format!("{one}0"), &one.replace('a', "g"), &format!("+{}", &one[1..])]
        {
            assert_eq!(count(&format!("{one}\n{wrong}")), Err(SharedKeysError::Line(2)), "{wrong}");
        }
        assert_eq!(SharedKeys::parse(b"\xff").err(), Some(SharedKeysError::Line(1)));
        let keys = SharedKeys::parse(format!("{one}\n{two}").as_bytes()).unwrap();
        assert_eq!((**keys.first(), keys.all().nth(1).map(|key| **key)), ([0x0a; 32], Some([0xff; 32])));
        assert_eq!(format!("{keys:?}"), "SharedKeys(2 of them)");
    }

    #[test]
    fn a_generated_key_is_new_and_can_be_read() {
        let (one, other) = (SharedKeys::generate().unwrap(), SharedKeys::generate().unwrap());
        assert_ne!(*one, *other);
        assert_eq!((count(&one), one.len(), one.capacity()), (Ok(1), 65, 65));
    }
}
