//! The unit that limits and penalties apply to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// A source of connections: a network of clients, or the user of clients of unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Source {
    /// An IPv4 network: its first address, and the length of its prefix.
    V4(Ipv4Addr, u8),
    /// An IPv6 network.
    V6(Ipv6Addr, u8),
    /// The user of a process on this machine, by its number.
    User(u32),
}

/// Lengths of the prefixes of [`Source`] in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefixes {
    pub(crate) v4: u8,
    pub(crate) v6: u8,
}

impl Source {
    /// The network of an address. An IPv4 address that is mapped into IPv6 (RFC 4291 section 2.5.5.2) is one of IPv4.
    pub(crate) fn of(address: IpAddr, prefixes: Prefixes) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let length = prefixes.v4.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                Self::V4(Ipv4Addr::from_bits(address.to_bits() & mask), length)
            }
            IpAddr::V6(address) => {
                let length = prefixes.v6.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                Self::V6(Ipv6Addr::from_bits(address.to_bits() & mask), length)
            }
        }
    }

    /// Whether the address belongs to the source.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        match self {
            Self::V4(_, v4) => Self::of(address, Prefixes { v4, v6: 0 }) == self,
            Self::V6(_, v6) => Self::of(address, Prefixes { v4: 0, v6 }) == self,
            Self::User(_) => false,
        }
    }
}

impl fmt::Display for Source {
    /// Formats an address, or a network in CIDR notation, as fail2ban and nft(8) read them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address, 32) => address.fmt(f),
            Self::V4(address, length) => write!(f, "{address}/{length}"),
            Self::V6(address, 128) => address.fmt(f),
            Self::V6(address, length) => write!(f, "{address}/{length}"),
            Self::User(uid) => write!(f, "user {uid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_contains_the_addresses_of_its_network() {
        let address = |text: &str| text.parse().unwrap();
        let source = Source::of(address("2001:db8::1"), Prefixes { v4: 32, v6: 56 });
        assert!(
            source.contains(address("2001:db8:0:ff::2")) && !source.contains(address("2001:db8:0:100::"))
        );
        assert!(!source.contains(address("32.1.13.184")) && !Source::User(0).contains(address("::")));
    }

    #[test]
    fn addresses_of_a_network_are_one_source() {
        let source = |address: &str, v4, v6| Source::of(address.parse().unwrap(), Prefixes { v4, v6 });
        for (address, v4, v6, shown) in [
            ("192.0.2.7", 32, 56, "192.0.2.7"),
            ("192.0.2.7", 24, 56, "192.0.2.0/24"),
            ("192.0.2.7", 1, 56, "128.0.0.0/1"),
            ("192.0.2.7", 0, 56, "0.0.0.0/0"),
            ("::ffff:192.0.2.7", 32, 56, "192.0.2.7"),
            ("2001:db8:1:2ff::1", 32, 56, "2001:db8:1:200::/56"),
            ("2001:db8:1:200:ffff::", 32, 56, "2001:db8:1:200::/56"),
            ("2001:db8::1", 32, 128, "2001:db8::1"),
            ("2001:db8::1", 32, 0, "::/0"),
        ] {
            assert_eq!(source(address, v4, v6).to_string(), shown, "{address}");
        }
    }
}
