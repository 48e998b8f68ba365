//! Addresses of listeners and targets, in the notation of administrators.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::config::path::utf8;
use crate::config::value::{self, Element, Rejected, Value, quoted};

/// The address of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub enum ListenAddr {
    /// A TCP port. Without a host: on all addresses of the machine, IPv4 and IPv6.
    Tcp {
        /// A host name or an IP address without brackets.
        host: Option<String>,
        /// 0 lets the kernel choose a port.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// The address of a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub enum TargetAddr {
    /// A host name or IP address (without brackets) and a port.
    Tcp {
        /// Resolved for each connection; its addresses are tried one after the other.
        host: String,
        /// Never 0.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// The reason why a text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AddrError {
    /// The text is neither `port` nor `host:port`.
    #[error("no host: an address is written host:port, such as localhost:5900 or [::1]:5900")]
    NoHost,
    /// The text after the last colon is not a port.
    #[error("no port: a port is a number from {min} to 65535")]
    Port {
        /// Smallest valid port: 0 if the kernel may choose one, else 1.
        min: u16,
    },
}

impl ListenAddr {
    /// Parses `port`, `:port` or `host:port`. As in the original the last colon separates, so that the
    /// brackets of an IPv6 address may be omitted, and an empty host means all addresses.
    ///
    /// # Errors
    ///
    /// Fails if there is no port from 0 to 65535.
    pub fn parse_tcp(text: &str) -> Result<Self, AddrError> {
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let port = port.trim().parse().map_err(|_| AddrError::Port { min: 0 })?;
        // The resolver of glibc, which the original uses, takes this for all addresses.
        let host = if host == "*" { "" } else { without_brackets(host) };
        Ok(Self::Tcp { host: (!host.is_empty()).then(|| host.to_owned()), port })
    }
}

impl TargetAddr {
    /// Parses `host:port`, split at the last colon as for listeners. An empty host means this machine, as in
    /// the original.
    ///
    /// # Errors
    ///
    /// Fails if there is no colon, or no port from 1 to 65535.
    pub fn parse_tcp(text: &str) -> Result<Self, AddrError> {
        let (host, port) = text.rsplit_once(':').ok_or(AddrError::NoHost)?;
        let port = match port.trim().parse() {
            Ok(0) | Err(_) => return Err(AddrError::Port { min: 1 }),
            Ok(port) => port,
        };
        let host = without_brackets(host);
        Ok(Self::Tcp { host: if host.is_empty() { "localhost" } else { host }.to_owned(), port })
    }
}

/// The host in the form of getaddrinfo(3): IPv6 addresses without brackets.
fn without_brackets(host: &str) -> &str {
    host.trim_matches(['[', ']'])
}

/// The host in the form that precedes a port: IPv6 addresses in brackets (RFC 3986 section 3.2.2).
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host: None, port } => write!(f, ":{port}"),
            Self::Tcp { host: Some(host), port } => write!(f, "{}:{port}", bracketed(host)),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for TargetAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{}:{port}", bracketed(host)),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Serialises as text in human-readable formats, and in binary form in messages between processes.
macro_rules! serde_address {
    ($type:ident) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    _ if !serializer.is_human_readable() => Self::serialize(self, serializer),
                    Self::Unix(path) => serializer.serialize_str(&format!("unix:{}", utf8(path)?)),
                    tcp @ Self::Tcp { .. } => {
                        serializer.serialize_str(tcp.to_string().trim_start_matches(':'))
                    }
                }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    value::read(deserializer)
                } else {
                    Self::deserialize(deserializer)
                }
            }
        }
    };
}

serde_address!(ListenAddr);
serde_address!(TargetAddr);

/// Parses `unix:` followed by an absolute path, or any address that `tcp` accepts.
fn address<T>(
    text: &str,
    unix: fn(PathBuf) -> T,
    tcp: fn(&str) -> Result<T, AddrError>,
    help: &str,
) -> Result<T, Rejected> {
    match text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
        Some(path) => Ok(unix(PathBuf::from(path))),
        None => tcp(text).map_err(|error| Rejected::new(format!("{} has {error}", quoted(text)), help)),
    }
}

impl Value for ListenAddr {
    const EXPECTED: &'static str = "an address such as \"6080\", \"[::1]:6080\" or \"unix:/path\"";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        const HELP: &str = "write \"6080\", \"localhost:6080\", \"[::1]:6080\" or \"unix:/absolute/path\"";
        address(text, Self::Unix, Self::parse_tcp, HELP)
    }

    fn from_number(number: i64) -> Option<Self> {
        u16::try_from(number).ok().map(|port| Self::Tcp { host: None, port })
    }

    fn help_for_number(_number: &str) -> String {
        "a port is a number from 0 to 65535".to_owned()
    }
}

impl Element for TargetAddr {
    const EXPECTED_MANY: &'static str =
        "an address such as \"localhost:5900\" or \"unix:/path\", or a list of them";
}

impl Value for TargetAddr {
    const EXPECTED: &'static str = "an address such as \"localhost:5900\" or \"unix:/path\"";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        const HELP: &str = "write \"localhost:5900\", \"[::1]:5900\" or \"unix:/absolute/path\"";
        address(text, Self::Unix, Self::parse_tcp, HELP)
    }

    fn help_for_number(number: &str) -> String {
        format!("write host and port: \"localhost:{number}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> Result<(Option<String>, u16), AddrError> {
        ListenAddr::parse_tcp(text).map(|addr| match addr {
            ListenAddr::Tcp { host, port } => (host, port),
            ListenAddr::Unix(_) => unreachable!("a TCP address was asked for"),
        })
    }

    #[test]
    fn listeners_are_read_as_in_the_original() {
        let host = |text: &str| Some(text.to_owned());
        assert_eq!(listen("6080"), Ok((None, 6080)));
        assert_eq!(listen(":6080"), Ok((None, 6080)));
        assert_eq!(listen("[]:6080"), Ok((None, 6080)));
        assert_eq!(listen("*:6080"), Ok((None, 6080)));
        assert_eq!(listen("0"), Ok((None, 0)));
        assert_eq!(listen(" 6080 "), Ok((None, 6080)));
        assert_eq!(listen("localhost:6080"), Ok((host("localhost"), 6080)));
        assert_eq!(listen("[::1]:6080"), Ok((host("::1"), 6080)));
        assert_eq!(listen("::1:6080"), Ok((host("::1"), 6080)));
        assert_eq!(listen("[fe80::1%eth0]:6080"), Ok((host("fe80::1%eth0"), 6080)));
        for wrong in ["", ":", "a", "localhost:", "localhost:http", "65536", "-1", "1.5", "unix:/x", "[::1]"]
        {
            assert_eq!(listen(wrong), Err(AddrError::Port { min: 0 }), "{wrong:?}");
        }
    }

    #[test]
    fn targets_are_read_as_in_the_original() {
        let read = |text: &str| TargetAddr::parse_tcp(text).map(|addr| addr.to_string());
        assert_eq!(read("localhost:5900").as_deref(), Ok("localhost:5900"));
        assert_eq!(read(":5900").as_deref(), Ok("localhost:5900"));
        assert_eq!(read("::1:5900").as_deref(), Ok("[::1]:5900"));
        assert_eq!(read("[::1]:5900").as_deref(), Ok("[::1]:5900"));
        assert_eq!(read("5900"), Err(AddrError::NoHost));
        assert_eq!(read("localhost:0"), Err(AddrError::Port { min: 1 }));
        assert_eq!(read("localhost:vnc"), Err(AddrError::Port { min: 1 }));
    }

    #[test]
    fn displayed_addresses_parse_to_the_same_value() {
        for text in [":6080", "localhost:6080", "[::1]:6080"] {
            let addr = ListenAddr::parse_tcp(text).unwrap();
            assert_eq!(addr.to_string(), text);
        }
    }
}
