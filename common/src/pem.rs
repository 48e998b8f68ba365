//! PEM files (RFC 7468), with the extensions that OpenSSL writes and accepts: headers (RFC 1421) and text
//! between blocks.

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

/// The byte order mark in UTF-8, which some editors put before the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A block between `BEGIN` and `END`. Its content is neither copied nor decoded.
#[derive(Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// The label after `BEGIN`.
    pub label: &'a [u8],
    lines: Vec<&'a [u8]>,
}

/// Finds the blocks of a file. A block without its end is ignored.
#[must_use]
pub fn blocks(file: &[u8]) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for line in file.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line).trim_ascii();
        if let Some(label) = between_dashes(line, b"-----BEGIN ") {
            open = Some(Block { label, lines: Vec::new() });
        } else if let Some(label) = between_dashes(line, b"-----END ") {
            blocks.extend(open.take().filter(|block| block.label == label));
        } else if let Some(block) = &mut open {
            block.lines.push(line);
        }
    }
    blocks
}

fn between_dashes<'a>(line: &'a [u8], begin: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(begin)?.strip_suffix(b"-----")
}

impl<'a> Block<'a> {
    /// Value of a header, such as `DEK-Info`. Lines of base64 contain no colon.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.lines.iter().find_map(|line| {
            let (found, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
            (found == name).then(|| value.trim())
        })
    }

    /// Decodes the content; `None` if it is not base64.
    #[must_use]
    pub fn der(&self) -> Option<Zeroizing<Vec<u8>>> {
        let len = self.lines.iter().map(|line| line.len()).sum();
        let mut text = Zeroizing::new(String::with_capacity(len));
        for line in self.lines.iter().filter(|line| !line.contains(&b':')) {
            text.push_str(std::str::from_utf8(line).ok()?);
        }
        Base64::decode_vec(&text).ok().map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_are_found_among_anything() {
        let file = b"\xef\xbb\xbfBag Attributes\n  \xff: no text\n\
            \xef\xbb\xbf-----BEGIN A-----  \r\nQUJD\r\n\r\nREVG\r\n-----END A-----\r\
            -----BEGIN OPEN-----\n\
            -----BEGIN B C-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: X, Y\n\nQQ==\n-----END B C-----\n\
            -----BEGIN D-----\n!!\n-----END D-----\n-----BEGIN E-----\nQUJD\n-----END F-----\n-----BEGIN G-----\nQUJD";
        let found = blocks(file);
        let labels: Vec<_> = found.iter().map(|block| block.label).collect();
        assert_eq!(labels, [b"A".as_slice(), b"B C", b"D"]);
        assert_eq!(found[0].der().unwrap().as_slice(), b"ABCDEF");
        assert_eq!((found[0].header("DEK-Info"), found[1].header("DEK-Info")), (None, Some("X, Y")));
        assert_eq!(found[1].header("Proc-Type"), Some("4,ENCRYPTED"));
        assert_eq!(found[1].der().unwrap().as_slice(), b"A");
        assert_eq!(found[2].der(), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(file in prop::collection::vec(
            prop::sample::select(vec![
                "-----BEGIN A-----", "-----END A-----", "\n", "\r", "QUJD", "=", "a: b", ":", "\u{feff}", "é",
            ]),
            0..30,
        )) {
            for block in blocks(file.concat().as_bytes()) {
                let _ = (block.header("a"), block.der());
            }
        }
    }
}
