//! The format of token files, which the connector reads for clients, and the supervisor for the unix sockets in them.

pub mod address;
pub mod hash;
pub mod moment;
pub mod nested;
pub mod policy;
pub mod table;

use crate::addr::TargetAddr;
use address::AddressError;

/// The reason why a line is not a token with its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is not UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
    /// The separator is missing.
    #[error("no colon followed by a space: write `token: host:port`")]
    NoSeparator,
    /// There is more than one separator.
    #[error("more than one colon followed by a space: write `token: host:port`")]
    Separators,
    /// The text after the separator is not a target.
    #[error("the target has {0}")]
    Target(#[from] AddressError),
}

/// Parses 32 bytes in hexadecimal digits, upper or lower case.
pub(crate) fn hexadecimal(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// The lines `token: target` of a file. Empty lines and comments, which begin with `#`, give `None`.
pub fn lines(content: &[u8]) -> impl Iterator<Item = Result<Option<(&str, TargetAddr)>, LineError>> {
    let lines = content.split(|byte| *byte == b'\n');
    lines.map(|line| std::str::from_utf8(line).map_err(|_| LineError::NotText).and_then(parse_line))
}

/// The target in a file whose name is the token.
///
/// # Errors
///
/// If the file holds no target.
pub fn whole(content: &[u8]) -> Result<TargetAddr, LineError> {
    let text = std::str::from_utf8(content).map_err(|_| LineError::NotText)?;
    Ok(address::parse(text.trim())?)
}

/// Parses a line in the original's format: the token, a colon followed by white space, and the target.
fn parse_line(line: &str) -> Result<Option<(&str, TargetAddr)>, LineError> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let mut separators = line
        .char_indices()
        .zip(line.chars().skip(1))
        .filter(|((_, colon), space)| *colon == ':' && space.is_whitespace())
        .map(|((at, _), _)| at);
    let at = separators.next().ok_or(LineError::NoSeparator)?;
    if separators.next().is_some() {
        return Err(LineError::Separators);
    }
    let (token, target) = line.split_at(at);
    Ok(Some((token, address::parse(target.trim_start_matches(':').trim())?)))
}
