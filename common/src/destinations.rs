//! Addresses that tokens may lead to: networks with ports, and unix sockets.

use std::fmt;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::value::{Element, OneOrMany, Rejected, Value, quoted, text_value};
use crate::networks::Network;

const EXAMPLES: &str =
    "\"10.0.0.0/8:5900-5999\", \"[2001:db8::/32]:5900\", \"192.0.2.7\" or \"unix:/run/vm/\"";

/// A list of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations(Vec<Destination>);

/// A member of such a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// TCP ports of a network.
    Tcp(Network, RangeInclusive<u16>),
    /// A unix socket; with a final slash, all sockets beneath a directory.
    Unix(PathBuf),
}

impl Destinations {
    /// Whether the list contains a TCP address.
    #[must_use]
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.tcp_entries(address).next().is_some()
    }

    /// Whether an entry names a part of one of these networks, and the address in it.
    #[must_use]
    pub(crate) fn names_within(&self, address: SocketAddr, networks: &[Network]) -> bool {
        self.tcp_entries(address).any(|(entry, _)| networks.iter().any(|network| entry.is_within(network)))
    }

    /// Whether an entry is this address and no other.
    #[must_use]
    pub fn names(&self, address: SocketAddr) -> bool {
        self.tcp_entries(address).any(|(entry, ports)| entry.is_one() && ports.start() == ports.end())
    }

    /// Whether the list contains a unix socket.
    #[must_use]
    pub fn contains_unix(&self, path: &Path) -> bool {
        self.unix_entries().any(|entry| match entry.as_os_str().as_encoded_bytes().ends_with(b"/") {
            true => path != entry && path.starts_with(entry),
            false => path == entry,
        })
    }

    /// Whether the list has unix sockets.
    #[must_use]
    pub fn has_unix(&self) -> bool {
        self.unix_entries().next().is_some()
    }

    /// All TCP ports, if there are no more than `most`.
    #[must_use]
    pub fn ports(&self, most: usize) -> Option<Vec<u16>> {
        let mut ports = Vec::new();
        for destination in &self.0 {
            let Destination::Tcp(_, range) = destination else { continue };
            if range.len() > most {
                return None;
            }
            ports.extend(range.clone());
            ports.sort_unstable();
            ports.dedup();
        }
        (ports.len() <= most).then_some(ports)
    }

    fn tcp_entries(&self, address: SocketAddr) -> impl Iterator<Item = (&Network, &RangeInclusive<u16>)> {
        self.0.iter().filter_map(move |destination| match destination {
            Destination::Tcp(network, ports) => (ports.contains(&address.port())
                && network.contains(address.ip()))
            .then_some((network, ports)),
            Destination::Unix(_) => None,
        })
    }

    fn unix_entries(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.iter().filter_map(|destination| match destination {
            Destination::Unix(path) => Some(path),
            Destination::Tcp(..) => None,
        })
    }
}

impl Destination {
    /// Parses a network and ports: `NETWORK`, `NETWORK:PORTS` with IPv4, or `[NETWORK]:PORTS`.
    fn parse_tcp(text: &str) -> Option<(Result<Network, Rejected>, RangeInclusive<u16>)> {
        let (network, ports) = match text.strip_prefix('[') {
            Some(rest) => match rest.split_once(']')? {
                (network, "") => (network, None),
                (network, rest) => (network, Some(rest.strip_prefix(':')?)),
            },
            None if text.matches(':').count() == 1 => {
                let (network, ports) = text.split_once(':')?;
                (network, Some(ports))
            }
            None => (text, None),
        };
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0 && !text.starts_with('+'));
        let ports = match ports.map(|ports| ports.split_once('-').unwrap_or((ports, ports))) {
            None => 1..=u16::MAX,
            Some((first, last)) => port(first)?..=port(last)?,
        };
        (!ports.is_empty()).then(|| (Network::ip(network), ports))
    }
}

impl Value for Destination {
    const EXPECTED: &'static str = "an address such as \"10.0.0.0/8:5900-5999\" or \"unix:/run/vm/\"";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        let rejected = || {
            Rejected::new(
                format!("{} is no network with ports, and no socket", quoted(text)),
                format!("write {EXAMPLES}"),
            )
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let is_plain = path.starts_with('/') && !path.split('/').any(|part| part == ".." || part == ".");
            return if is_plain { Ok(Self::Unix(PathBuf::from(path))) } else { Err(rejected()) };
        }
        let (network, ports) = Self::parse_tcp(text).ok_or_else(rejected)?;
        Ok(Self::Tcp(network?, ports))
    }
}

text_value!(Destination);

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (network, ports) = match self {
            Self::Unix(path) => return write!(f, "unix:{}", path.display()),
            Self::Tcp(network, ports) => (network.to_string(), ports),
        };
        match (ports.start(), ports.end()) {
            (1, &u16::MAX) => return f.write_str(&network),
            _ if network.contains(':') => write!(f, "[{network}]:")?,
            _ => write!(f, "{network}:")?,
        }
        match (ports.start(), ports.end()) {
            (first, last) if first == last => first.fmt(f),
            (first, last) => write!(f, "{first}-{last}"),
        }
    }
}

impl Serialize for Destination {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Element for Destination {
    const EXPECTED_MANY: &'static str =
        "an address such as \"10.0.0.0/8:5900-5999\" or \"unix:/run/vm/\", or a list of them";
}

impl Serialize for Destinations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            OneOrMany::serialize(&self.0, serializer)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Destinations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            OneOrMany::deserialize(deserializer).map(Self)
        } else {
            let texts = Vec::<String>::deserialize(deserializer)?;
            let list = texts.iter().map(|text| Destination::from_text(text));
            list.collect::<Result<_, _>>().map(Self).map_err(serde::de::Error::custom)
        }
    }
}

/// The address that a connection to `address` reaches: the kernel takes the unspecified address for loopback, and
/// mapped ones for IPv4.
#[must_use]
pub fn reached(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Table {
        allow: Destinations,
    }

    fn list(list: &str) -> Destinations {
        toml::from_str::<Table>(&format!("allow = {list}")).unwrap().allow
    }

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn an_entry_contains_a_network_and_ports() {
        for (entry, inside, outside) in [
            ("10.0.0.0/8:5900-5999", "10.1.2.3:5900", "10.1.2.3:6000"),
            ("10.0.0.0/8:5900-5999", "10.1.2.3:5999", "11.0.0.1:5900"),
            ("10.0.0.0/8:5900-5999", "[::ffff:10.1.2.3]:5900", "[::ffff:11.1.2.3]:5900"),
            ("192.0.2.7:22", "192.0.2.7:22", "192.0.2.7:23"),
            ("192.0.2.7", "192.0.2.7:1", "192.0.2.8:1"),
            ("2001:db8::/32", "[2001:db8:1::1]:9", "[2001:db9::1]:9"),
            ("[2001:db8::/32]:5900", "[2001:db8:1::1]:5900", "[2001:db8:1::1]:5901"),
            ("[::1]", "[::1]:9", "[::2]:9"),
            ("0.0.0.0/0:5900", "192.0.2.7:5900", "[::1]:5900"),
        ] {
            let list = list(&format!("{entry:?}"));
            assert!(list.contains(at(inside)) && !list.contains(at(outside)), "{entry}");
            assert_eq!(
                toml::to_string(&Table { allow: list.clone() }).unwrap(),
                format!("allow = {:?}\n", entry.replace("[::1]", "::1"))
            );
            let bytes = postcard::to_stdvec(&list).unwrap();
            assert_eq!(postcard::from_bytes::<Destinations>(&bytes).unwrap(), list);
        }
    }

    #[test]
    fn a_directory_contains_all_sockets_beneath_it_and_a_path_one() {
        let list = list(r#"["unix:/run/vm/", "unix:/run/x.sock", "10.0.0.0/8"]"#);
        for inside in ["/run/vm/a", "/run/vm/b/c", "/run/x.sock"] {
            assert!(list.contains_unix(Path::new(inside)), "{inside}");
        }
        for outside in ["/run/vm", "/run/vm/", "/run/vmx", "/run/x.sock/y", "/run/x", "run/vm/a"] {
            assert!(!list.contains_unix(Path::new(outside)), "{outside}");
        }
        assert!(list.has_unix());
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in [
            "",
            "localhost:5900",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/8:",
            "10.0.0.0/8:0",
            "10.0.0.0/8:5999-5900",
            "10.0.0.0/8:1-65536",
            "10.0.0.0/8:+1",
            "[::1]5900",
            "[::1",
            "unix",
            "unix:run/x",
            "unix:/run/../x",
            "*",
        ] {
            assert!(toml::from_str::<Table>(&format!("allow = {text:?}")).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_are_listed_while_they_are_few() {
        let all = list(r#"["10.0.0.0/8:5900-5902", "192.0.2.7:5901", "[::1]:80", "unix:/x"]"#);
        assert_eq!(all.ports(4), Some(vec![80, 5900, 5901, 5902]));
        assert_eq!(all.ports(3), None);
        assert_eq!(list("\"10.0.0.0/8\"").ports(1000), None);
        assert_eq!(list("\"unix:/x\"").ports(0), Some(Vec::new()));
    }

    #[test]
    fn the_kernel_takes_some_addresses_for_others() {
        for (given, other) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("[::ffff:0.0.0.0]:1", "127.0.0.1:1"),
            ("[::ffff:169.254.169.254]:80", "169.254.169.254:80"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            assert_eq!(reached(at(given)), at(other));
        }
    }
}
