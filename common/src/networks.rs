//! Networks in CIDR notation (RFC 4632, RFC 4291 section 2.3), in lists of peers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::value::{Element, OneOrMany, Rejected, Value, quoted, text_value};

/// A list of networks. `unix` stands for all peers on unix sockets.
///
/// IPv4-mapped IPv6 addresses (`::ffff:192.0.2.1`), which listeners for both families report for IPv4 peers,
/// are compared as IPv4 addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

/// A member of such a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// All addresses that begin with the first `length` bits of `prefix`; the other bits of `prefix` are zero.
    Ip { prefix: IpAddr, length: u8 },
    /// Peers on unix sockets.
    Unix,
}

impl Networks {
    /// Peers on the same machine: loopback addresses, and unix sockets.
    #[must_use]
    pub fn this_machine() -> Self {
        let ip = |prefix: IpAddr, length| Network::Ip { prefix, length };
        let loopback = [ip(Ipv4Addr::new(127, 0, 0, 0).into(), 8), ip(Ipv6Addr::LOCALHOST.into(), 128)];
        Self(loopback.into_iter().chain([Network::Unix]).collect())
    }

    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `address` belongs to one of the networks.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Whether peers on unix sockets belong to the list.
    #[must_use]
    pub fn contains_unix(&self) -> bool {
        self.0.contains(&Network::Unix)
    }
}

/// Returns `address` with all bits after the first `length` set to zero.
fn first_bits(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

impl Network {
    /// Parses a network of addresses.
    ///
    /// # Errors
    ///
    /// Fails if the text is anything else.
    pub(crate) fn ip(text: &str) -> Result<Self, Rejected> {
        match Self::from_text(text)? {
            Self::Unix => {
                Err(Rejected::new("\"unix\" is not a network of addresses", "write \"unix:/path\""))
            }
            network @ Self::Ip { .. } => Ok(network),
        }
    }

    /// Whether `address` belongs to the network.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let Self::Ip { prefix, length } = *self else { return false };
        let address = address.to_canonical();
        prefix.is_ipv4() == address.is_ipv4() && first_bits(address, length) == prefix
    }

    /// Whether all addresses of this network belong to `other`.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip { prefix, length }, Self::Ip { length: others, .. }) => {
                length >= others && other.contains(*prefix)
            }
            _ => false,
        }
    }

    /// Whether the network is a single address.
    pub(crate) fn is_one(&self) -> bool {
        matches!(self, Self::Ip { prefix: IpAddr::V4(_), length: 32 } | Self::Ip { length: 128, .. })
    }

    /// Parses an address, or an address and the length of its prefix.
    fn parse_ip(text: &str) -> Option<(IpAddr, u8)> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                (address, Some(length.parse::<u8>().ok()?))
            }
            Some(_) => return None,
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(bits);
        // A mapped network is written as such only if its prefix covers the mark of mapped addresses.
        match address.to_canonical() {
            _ if length > bits => None,
            IpAddr::V4(mapped) if bits == 128 && length >= 96 => Some((mapped.into(), length - 96)),
            _ => Some((address, length)),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip { prefix: IpAddr::V4(address), length: 32 } => address.fmt(f),
            Self::Ip { prefix: IpAddr::V6(address), length: 128 } => address.fmt(f),
            Self::Ip { prefix, length } => write!(f, "{prefix}/{length}"),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl Value for Network {
    const EXPECTED: &'static str = "a network such as \"10.1.0.0/16\", an address, or \"unix\"";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let (address, length) = Self::parse_ip(text).ok_or_else(|| {
            let help = "write \"10.1.0.0/16\", \"2001:db8::/32\", an address, or \"unix\"";
            Rejected::new(format!("{} is not a network", quoted(text)), help)
        })?;
        let network = Self::Ip { prefix: first_bits(address, length), length };
        if network != (Self::Ip { prefix: address, length }) {
            let help = format!("write \"{network}\", or \"{address}\" for this address only");
            return Err(Rejected::new(format!("{} has bits set after its prefix", quoted(text)), help));
        }
        Ok(network)
    }
}

text_value!(Network);

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Element for Network {
    const EXPECTED_MANY: &'static str =
        "a network such as \"10.1.0.0/16\", an address or \"unix\", or a list of them";
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            OneOrMany::serialize(&self.0, serializer)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            OneOrMany::deserialize(deserializer).map(Self)
        } else {
            let texts = Vec::<String>::deserialize(deserializer)?;
            let networks = texts.iter().map(|text| Network::from_text(text));
            networks.collect::<Result<_, _>>().map(Self).map_err(serde::de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Table {
        trusted: Networks,
    }

    fn networks(list: &str) -> Networks {
        toml::from_str::<Table>(&format!("trusted = {list}")).unwrap().trusted
    }

    fn contains(list: &str, address: &str) -> bool {
        networks(list).contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_contains_what_begins_with_its_prefix() {
        for (list, inside, outside) in [
            (r#""10.1.0.0/16""#, "10.1.255.255", "10.2.0.0"),
            (r#""10.1.0.0/16""#, "::ffff:10.1.2.3", "::ffff:10.2.0.0"),
            (r#""192.0.2.7""#, "192.0.2.7", "192.0.2.8"),
            (r#""192.0.2.8/31""#, "192.0.2.9", "192.0.2.10"),
            (r#""0.0.0.0/0""#, "203.0.113.1", "::1"),
            (r#""::/0""#, "::1", "203.0.113.1"),
            (r#""::/0""#, "2001:db8::1", "::ffff:203.0.113.1"),
            (r#""2001:db8::/33""#, "2001:db8:7fff::1", "2001:db8:8000::1"),
            (r#""::1""#, "::1", "::2"),
            (r#""::ffff:10.1.0.0/112""#, "10.1.255.255", "10.2.0.0"),
            (r#"["unix", "127.0.0.0/8", "fe80::/10"]"#, "febf::1", "fec0::1"),
            (r#"["unix", "127.0.0.0/8", "fe80::/10"]"#, "127.255.0.1", "128.0.0.1"),
        ] {
            assert!(contains(list, inside), "{inside} is in {list}");
            assert!(!contains(list, outside), "{outside} is not in {list}");
        }
    }

    #[test]
    fn nothing_is_in_an_empty_list() {
        assert!(!contains("[]", "127.0.0.1") && !networks("[]").contains_unix() && networks("[]").is_empty());
    }

    #[test]
    fn unix_is_no_address() {
        assert!(networks(r#"["::1", "unix"]"#).contains_unix());
        assert!(!networks(r#"["::/0", "0.0.0.0/0"]"#).contains_unix());
        assert!(!contains(r#""unix""#, "127.0.0.1"));
    }

    #[test]
    fn what_is_not_a_network_is_rejected() {
        for (wrong, error) in [
            ("\"\"", "not a network"),
            ("\"localhost\"", "not a network"),
            ("\"10.1.0.0/\"", "not a network"),
            ("\"10.1.0.0/33\"", "not a network"),
            ("\"10.1.0.0/+8\"", "not a network"),
            ("\"10.1.0.0/255.255.0.0\"", "not a network"),
            ("\"10.1/16\"", "not a network"),
            ("\"010.1.0.0/16\"", "not a network"),
            ("\"::1/129\"", "not a network"),
            ("\"[::1]\"", "not a network"),
            ("\"::1%lo\"", "not a network"),
            ("\"unix:/run/x\"", "not a network"),
            ("\"10.1.2.3/16\"", "write \"10.1.0.0/16\", or \"10.1.2.3\" for this address only"),
            ("10", "found integer `10`"),
        ] {
            let found = toml::from_str::<Table>(&format!("trusted = [{wrong}]")).unwrap_err().to_string();
            assert!(found.contains(error), "{wrong}: {found}");
        }
    }

    #[test]
    fn lists_survive_files_and_messages() {
        let list = r#"["10.1.0.0/16", "192.0.2.7", "2001:db8::/32", "::1", "unix"]"#;
        for list in [list, "[]", r#""::ffff:10.1.0.0/112""#] {
            let sent = Table { trusted: networks(list) };
            assert_eq!(toml::from_str::<Table>(&toml::to_string(&sent).unwrap()).unwrap(), sent);
            assert_eq!(postcard::from_bytes::<Table>(&postcard::to_stdvec(&sent).unwrap()).unwrap(), sent);
        }
        assert!(toml::to_string(&Table { trusted: networks(list) }).unwrap().contains(list));
    }
}
