//! Hosts that clients ask for, and origins of pages (RFC 6454), as they are sent and as they are configured.
//!
//! Names are compared without case and without a trailing dot, addresses by value, and ports with the default of
//! their scheme.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::value::{self, Element, Rejected, Value, quoted};

/// Maximum length of a host name in characters (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;

/// A host: a name in lower case without a trailing dot, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, which stands in brackets.
    V6(Ipv6Addr),
}

impl Host {
    /// Parses a host as it stands in a URL; `None` if it is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(address) = text.strip_prefix('[') {
            return address.strip_suffix(']')?.parse().ok().map(Self::V6);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = name.parse() {
            return Some(Self::V4(address));
        }
        let is_label = |label: &str| {
            let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            !label.is_empty() && label.bytes().all(is_of_name)
        };
        let is_name = name.len() <= MAX_NAME && name.split('.').all(is_label);
        is_name.then(|| Self::Name(name.to_ascii_lowercase()))
    }

    /// Whether no name server can lead this host elsewhere: an address, or the name of this machine that browsers
    /// resolve by themselves.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        !matches!(self, Self::Name(name) if name != "localhost")
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// A host and a port (RFC 3986 section 3.2, without user information).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port, unless it is left to the scheme.
    pub port: Option<u16>,
}

impl Authority {
    /// Parses the value of a `Host` field; `None` if it is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = split_port(text)?;
        Some(Self { host: Host::parse(host)?, port })
    }
}

/// Splits the port off, which may be empty; `None` if it is not a number of up to 16 bits.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let end = if text.starts_with('[') { text.find(']')? } else { 0 };
    let Some(colon) = text[end..].find(':').map(|at| end + at) else { return Some((text, None)) };
    let (host, port) = (&text[..colon], &text[colon + 1..]);
    if port.is_empty() {
        return Some((host, None));
    }
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|_| is_number).map(|port| (host, Some(port)))
}

/// The default port of a scheme.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// The origin of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: Host,
    port: Option<u16>,
}

impl Origin {
    /// Parses the value of an `Origin` field; `None` if it is malformed or `null`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = split_scheme(text)?;
        let Authority { host, port } = Authority::parse(authority)?;
        Some(Self { port: port.or(default_port(&scheme)), scheme, host })
    }

    /// Whether a page of this origin has come from the host that is asked for. `secured` tells whether the client
    /// uses TLS; `None` if that is unknown, as a proxy may have ended it.
    #[must_use]
    pub fn is_of(&self, asked: &Authority, secured: Option<bool>) -> bool {
        let Some(default) = default_port(&self.scheme) else { return false };
        secured.is_none_or(|secured| secured == (self.scheme == "https"))
            && self.host == asked.host
            && self.port == Some(asked.port.unwrap_or(default))
    }
}

/// Splits the scheme off, in lower case (RFC 3986 section 3.1).
fn split_scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let is_valid =
        scheme.starts_with(|char: char| char.is_ascii_alphabetic()) && scheme.bytes().all(is_scheme);
    is_valid.then(|| (scheme.to_ascii_lowercase(), rest))
}

/// A configured host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This host.
    Exactly(Host),
    /// All names that end in a dot and this name: `*.example.com`.
    Below(String),
}

impl HostPattern {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("*.").map(Host::parse) {
            None => Host::parse(text).map(Self::Exactly),
            Some(Some(Host::Name(name))) => Some(Self::Below(name)),
            Some(_) => None,
        }
    }

    /// Whether this is, or includes, `host`.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Exactly(own), host) => own == host,
            (Self::Below(own), Host::Name(name)) => {
                name.strip_suffix(own.as_str()).is_some_and(|start| start.ends_with('.'))
            }
            (Self::Below(_), Host::V4(_) | Host::V6(_)) => false,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(host) => host.fmt(f),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

impl Value for HostPattern {
    const EXPECTED: &'static str = "a host name in quotes such as \"vnc.example.com\"";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        Self::parse(text).ok_or_else(|| {
            let help = "write the name alone, as in \"vnc.example.com\" or \"*.example.com\", or an address such as \
                        \"192.0.2.7\" or \"[2001:db8::7]\"; other alphabets in their ASCII form, \"xn--…\"";
            Rejected::new(format!("{} is not the name of a host", quoted(text)), help)
        })
    }
}

impl Element for HostPattern {
    const EXPECTED_MANY: &'static str = "a host name such as \"vnc.example.com\", or a list of them";
}

/// A configured origin of pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// Any page: `*`.
    Any,
    /// Pages that have no origin of their own: `null`.
    Null,
    /// Pages of these hosts.
    Page {
        /// The scheme in lower case.
        scheme: String,
        /// The hosts.
        host: HostPattern,
        /// The port; `None` for schemes that have none.
        port: Option<u16>,
    },
}

impl OriginPattern {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => return Some(Self::Any),
            "null" => return Some(Self::Null),
            _ => {}
        }
        let (scheme, authority) = split_scheme(text)?;
        let (host, port) = split_port(authority)?;
        Some(Self::Page { host: HostPattern::parse(host)?, port: port.or(default_port(&scheme)), scheme })
    }

    /// Whether a page whose `Origin` field has the value `text` is meant. `origin` is that value, parsed.
    #[must_use]
    pub fn matches(&self, text: &str, origin: Option<&Origin>) -> bool {
        match self {
            Self::Any => true,
            Self::Null => text == "null",
            Self::Page { scheme, host, port } => origin.is_some_and(|origin| {
                (scheme, port) == (&origin.scheme, &origin.port) && host.matches(&origin.host)
            }),
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Null => f.write_str("null"),
            Self::Page { scheme, host, port } => {
                write!(f, "{scheme}://{host}")?;
                port.filter(|_| *port != default_port(scheme)).map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

impl Value for OriginPattern {
    const EXPECTED: &'static str = "an origin in quotes such as \"https://vnc.example.com\"";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        Self::parse(text).ok_or_else(|| {
            let help = "write scheme, host and port as a browser shows them, without a path: \
                        \"https://vnc.example.com\" or \"https://vnc.example.com:8443\"; \"*\" allows all pages";
            Rejected::new(format!("{} is not the origin of a page", quoted(text)), help)
        })
    }
}

impl Element for OriginPattern {
    const EXPECTED_MANY: &'static str = "an origin such as \"https://vnc.example.com\", or a list of them";
}

/// Serialises a [`Value`] as its text, in files and in messages between processes.
macro_rules! as_text {
    ($($type:ident)+) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    return value::read(deserializer);
                }
                let text = String::deserialize(deserializer)?;
                Self::from_text(&text).map_err(|_| serde::de::Error::custom("a malformed pattern"))
            }
        }
    )+};
}

as_text!(HostPattern OriginPattern);

#[cfg(test)]
mod tests {
    use super::*;

    fn is_of(origin: &str, asked: &str, secured: Option<bool>) -> bool {
        match (Origin::parse(origin), Authority::parse(asked)) {
            (Some(origin), Some(asked)) => origin.is_of(&asked, secured),
            _ => false,
        }
    }

    #[test]
    fn a_page_is_ours_if_it_has_come_from_the_host_asked_for() {
        let (plain, tls, unknown) = (Some(false), Some(true), None);
        for (origin, asked, secured) in [
            ("http://vnc.example", "vnc.example", plain),
            ("https://vnc.example", "vnc.example", tls),
            ("https://vnc.example", "vnc.example", unknown),
            ("http://vnc.example", "vnc.example:80", unknown),
            ("https://vnc.example", "vnc.example:443", unknown),
            ("https://vnc.example:443", "vnc.example", unknown),
            ("http://vnc.example:80", "vnc.example:", plain),
            ("HTTPS://VNC.Example", "vnc.eXAMPLE", tls),
            ("https://vnc.example.", "vnc.example", tls),
            ("https://vnc.example", "vnc.example.:443", tls),
            ("http://localhost:6080", "localhost:6080", plain),
            ("http://127.0.0.1:6080", "127.0.0.1:6080", plain),
            ("http://[::1]:6080", "[::1]:6080", plain),
            ("http://[2001:db8::7]", "[2001:DB8:0:0::7]:80", plain),
            ("https://my_vm:8443", "my_vm:8443", unknown),
        ] {
            assert!(is_of(origin, asked, secured), "{origin} {asked} {secured:?}");
        }
        for (origin, asked, secured) in [
            ("https://evil.example", "vnc.example", unknown),
            ("http://vnc.example", "vnc.example", tls),
            ("https://vnc.example", "vnc.example", plain),
            ("https://vnc.example", "vnc.example:80", unknown),
            ("http://vnc.example", "vnc.example:443", unknown),
            ("https://vnc.example:8443", "vnc.example", unknown),
            ("https://vnc.example", "vnc.example:8443", unknown),
            ("https://vnc.example.evil.example", "vnc.example", unknown),
            ("https://evil-vnc.example", "vnc.example", unknown),
            ("https://vnc.example@evil.example", "vnc.example", unknown),
            ("https://evil.example", "vnc.example@evil.example", unknown),
            ("https://vnc.example/", "vnc.example", unknown),
            ("https://vnc.example http://evil.example", "vnc.example", unknown),
            ("https://vnc.example,https://evil.example", "vnc.example", unknown),
            ("null", "vnc.example", unknown),
            ("null", "null", unknown),
            ("", "", unknown),
            ("vnc.example", "vnc.example", unknown),
            ("//vnc.example", "vnc.example", unknown),
            ("https:vnc.example", "vnc.example", unknown),
            ("ftp://vnc.example", "vnc.example", unknown),
            ("chrome-extension://vnc.example", "vnc.example", unknown),
            ("file://", "", unknown),
            ("https://vnc.example:", "vnc.example:0443", plain),
            ("https://vnc.example:+443", "vnc.example", unknown),
            ("https://vnc.example:65979", "vnc.example", unknown),
            ("http://[::1", "[::1", unknown),
            ("http://::1", "::1", unknown),
            ("http://[::1]x", "[::1]x", unknown),
            ("http://[::ffff:127.0.0.1]", "127.0.0.1", unknown),
            ("http://vnc..example", "vnc..example", unknown),
            ("http://vnc.example..", "vnc.example", unknown),
            ("http://v\u{fc}.example", "v\u{fc}.example", unknown),
            ("http://vnc%2eexample", "vnc.example", unknown),
        ] {
            assert!(!is_of(origin, asked, secured), "{origin} {asked} {secured:?}");
        }
    }

    #[test]
    fn listed_origins_and_hosts_match_what_they_name() {
        for (pattern, origin, is_meant) in [
            ("*", "https://a.example", true),
            ("*", "null", true),
            ("*", "{not an origin", true),
            ("null", "null", true),
            ("null", "https://null", false),
            ("https://a.example", "https://A.example.:443", true),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "https://a.example:8443", false),
            ("https://a.example:8443", "https://a.example:8443", true),
            ("https://*.a.example", "https://x.a.example", true),
            ("https://*.a.example", "https://x.y.a.example", true),
            ("https://*.a.example", "https://a.example", false),
            ("https://*.a.example", "https://xa.example", false),
            ("https://*.a.example", "https://a.example.evil", false),
            ("https://*.a.example", "http://x.a.example", false),
            ("chrome-extension://abc", "chrome-extension://abc", true),
            ("chrome-extension://abc", "https://abc", false),
            ("http://[::1]:8080", "http://[0:0::1]:8080", true),
        ] {
            let own = OriginPattern::from_text(pattern).unwrap();
            assert_eq!(own.matches(origin, Origin::parse(origin).as_ref()), is_meant, "{pattern} {origin}");
            assert_eq!(OriginPattern::from_text(&own.to_string()), Ok(own));
        }
        for (pattern, host, is_meant) in [
            ("VNC.example.", "vnc.example", true),
            ("*.example", "vnc.example", true),
            ("*.example", "example", false),
            ("*.example", "10.0.0.7", false),
            ("10.0.0.7", "10.0.0.7", true),
            ("[::1]", "[::1]", true),
        ] {
            let own = HostPattern::from_text(pattern).unwrap();
            assert_eq!(own.matches(&Host::parse(host).unwrap()), is_meant, "{pattern} {host}");
        }
    }

    #[test]
    fn what_names_no_host_or_origin_is_rejected() {
        for text in
            ["", "*", "*.*.example", "a*.example", "*.10.0.0.7", "a:80", "https://a", "a/b", "ü", "::1"]
        {
            assert!(HostPattern::from_text(text).is_err(), "{text}");
        }
        for text in
            ["", "a.example", "https://", "https://a/", "https://*", "https://a:x", "https://ü", "NULL"]
        {
            assert!(OriginPattern::from_text(text).is_err(), "{text}");
        }
    }
}
