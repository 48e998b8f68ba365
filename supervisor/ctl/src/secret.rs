//! Reads tokens and passwords, which must not stand in arguments, as everybody may see those.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

/// Maximum size of a file with a token or a password, in bytes.
const MAX_SECRET_BYTES: u64 = 16 << 10;

/// Reads a file or standard input as text, without the final newline.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let mut text = String::new();
    let source: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(io::stdin()),
        false => Box::new(fs::File::open(path).map_err(failed)?),
    };
    source.take(MAX_SECRET_BYTES).read_to_string(&mut text).map_err(failed)?;
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(text)
}
