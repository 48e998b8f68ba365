//! Parses targets as token sources write them.

use std::path::PathBuf;

use crate::addr::{AddrError, TargetAddr};

/// Maximum length of a host name in bytes: that of DNS (RFC 1035 section 2.3.4).
const MAX_HOST_BYTES: usize = 255;

/// Prefixes of a unix socket's path: that of the original and that of the configuration file.
const UNIX: [&str; 2] = ["unix_socket:", "unix:"];

/// The reason why a text is not a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The text is neither a host and port nor a socket.
    #[error(transparent)]
    Address(#[from] AddrError),
    /// The host is empty.
    #[error("an empty host")]
    NoHost,
    /// The host name is invalid.
    #[error("a host longer than {MAX_HOST_BYTES} bytes")]
    LongHost,
    /// The path is relative.
    #[error("a relative path: the path of a unix socket must begin with /")]
    RelativePath,
}

/// Parses `host:port`, split at the last colon, `[host]:port`, `unix_socket:/path` or `unix:/path`.
///
/// # Errors
///
/// If the text is none of these.
pub fn parse(text: &str) -> Result<TargetAddr, AddressError> {
    if let Some(path) = UNIX.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        if path.starts_with('/') {
            return Ok(TargetAddr::Unix(PathBuf::from(path)));
        }
        // A host may have the name "unix".
        if text.starts_with("unix_socket:") {
            return Err(AddressError::RelativePath);
        }
    }
    match TargetAddr::parse_tcp(text)? {
        TargetAddr::Tcp { host, .. } if host.len() > MAX_HOST_BYTES => Err(AddressError::LongHost),
        target => Ok(target),
    }
}

/// Parses a host and a port that are given separately. With the host `unix_socket` the port is a path, as in the
/// original.
///
/// # Errors
///
/// If they are no target together.
pub fn of_pair(host: &str, port: &str) -> Result<TargetAddr, AddressError> {
    if host.is_empty() {
        return Err(AddressError::NoHost);
    }
    parse(&format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_target_is_read() {
        for (text, shown) in [
            ("localhost:5900", "localhost:5900"),
            ("127.0.0.1:5900", "127.0.0.1:5900"),
            ("::1:5900", "[::1]:5900"),
            ("[::1]:5900", "[::1]:5900"),
            ("unix_socket:/run/a:b.sock", "unix:/run/a:b.sock"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("unix:5900", "unix:5900"),
        ] {
            assert_eq!(parse(text).map(|target| target.to_string()).as_deref(), Ok(shown), "{text}");
        }
    }

    #[test]
    fn an_invalid_target_is_rejected_with_a_reason() {
        let long = format!("{}:1", "x".repeat(256));
        for (text, error) in [
            ("", AddressError::Address(AddrError::NoHost)),
            ("localhost", AddressError::Address(AddrError::NoHost)),
            ("localhost:", AddressError::Address(AddrError::Port { min: 1 })),
            ("localhost:vnc", AddressError::Address(AddrError::Port { min: 1 })),
            ("localhost:0", AddressError::Address(AddrError::Port { min: 1 })),
            ("unix_socket:run/a.sock", AddressError::RelativePath),
            (long.as_str(), AddressError::LongHost),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
