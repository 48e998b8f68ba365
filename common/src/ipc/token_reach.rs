//! Where tokens may lead.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::destinations::{Destinations, reached};
use crate::networks::Network;

/// Addresses that lead to no machine that a token could mean: link-local ones (RFC 3927, RFC 4291 section 2.5.6), by
/// which clouds serve the credentials of a machine to whoever asks from there, and others that clouds use for that.
static PROTECTED: LazyLock<Vec<Network>> = LazyLock::new(|| {
    let networks = [
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
    ];
    networks.map(|text| Network::ip(text).expect("a network")).to_vec()
});

/// What tokens may lead to, and the service's own addresses. Each is asked about the very address of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReach {
    /// If given, tokens lead to these addresses only.
    pub allow: Option<Destinations>,
    /// Tokens lead to none of these.
    pub deny: Destinations,
    /// TCP addresses at which the service itself listens.
    pub own: Vec<SocketAddr>,
    /// Process id of the supervisor, which listens at the unix sockets of the service.
    pub supervisor: i32,
}

/// The reason why no token leads to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    /// `token.allow` does not contain it.
    #[error("`token.allow` does not contain the address")]
    NotAllowed,
    /// `token.deny` contains it.
    #[error("`token.deny` contains the address")]
    Denied,
    /// It is link-local, or serves the metadata of a cloud.
    #[error("tokens lead to link-local addresses and to metadata of clouds only if `token.allow` names them")]
    Protected,
    /// The service itself listens there.
    #[error("the service itself listens there")]
    Own,
}

impl TokenReach {
    /// Checks a TCP address. `is_spelled_out` tells whether a token file has the address itself, and not a name or a
    /// service. `is_local` tells whether an address is one of this machine's.
    ///
    /// # Errors
    ///
    /// The reason why no token leads there.
    pub fn check(
        &self,
        address: SocketAddr,
        is_spelled_out: bool,
        is_local: impl FnOnce(IpAddr) -> bool,
    ) -> Result<(), Barred> {
        let address = reached(address);
        let behind = translated(address.ip()).map(|ip| SocketAddr::new(ip, address.port()));
        let forms = || [Some(address), behind].into_iter().flatten();
        if forms().any(|address| self.deny.contains(address)) {
            return Err(Barred::Denied);
        }
        if self.allow.as_ref().is_some_and(|allow| !allow.contains(address)) {
            return Err(Barred::NotAllowed);
        }
        let is_protected =
            |address: SocketAddr| PROTECTED.iter().any(|network| network.contains(address.ip()));
        let is_named = || self.allow.as_ref().is_some_and(|allow| allow.names_within(address, &PROTECTED));
        if forms().any(is_protected) && !is_spelled_out && !is_named() {
            return Err(Barred::Protected);
        }
        let mut own = self.own.iter().filter(|own| own.port() == address.port());
        let is_own = own.any(|own| own.ip().is_unspecified() || reached(*own).ip() == address.ip());
        let is_named = || self.allow.as_ref().is_some_and(|allow| allow.names(address));
        if is_own && is_local(address.ip()) && !is_named() {
            return Err(Barred::Own);
        }
        Ok(())
    }

    /// Checks the path of a unix socket, without symbolic links.
    ///
    /// # Errors
    ///
    /// The reason why no token leads there.
    pub fn check_unix(&self, path: &Path) -> Result<(), Barred> {
        if self.deny.contains_unix(path) {
            return Err(Barred::Denied);
        }
        if self.allow.as_ref().is_some_and(|allow| !allow.contains_unix(path)) {
            return Err(Barred::NotAllowed);
        }
        Ok(())
    }

    /// Whether paths of unix sockets matter.
    #[must_use]
    pub fn minds_paths(&self) -> bool {
        self.allow.is_some() || self.deny.has_unix()
    }
}

/// The IPv4 address that a translator in the network makes of an IPv6 address with the well-known prefix (RFC 6052).
fn translated(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(ip) = ip else { return None };
    let [0x64, 0xff9b, 0, 0, 0, 0, ..] = ip.segments() else { return None };
    let [.., a, b, c, d] = ip.octets();
    Some(IpAddr::from([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(allow: Option<&str>, deny: &str) -> TokenReach {
        let list = |text: &str| {
            let entries: Vec<_> = text.split_whitespace().collect();
            let value = serde_json::json!(entries);
            <Destinations as Deserialize>::deserialize(value).unwrap()
        };
        let own = ["0.0.0.0:6080", "10.0.0.1:6081", "[::]:6082"].map(|own| own.parse().unwrap()).to_vec();
        TokenReach { allow: allow.map(list), deny: list(deny), own, supervisor: 1 }
    }

    fn check(reach: &TokenReach, address: &str) -> Result<(), Barred> {
        let local = ["10.0.0.1", "127.0.0.1", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        reach.check(address.parse().unwrap(), false, |ip| local.contains(&ip))
    }

    #[test]
    fn what_is_protected_must_be_named() {
        let protected = [
            "169.254.169.254:80",
            "[::ffff:169.254.169.254]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "[fe80::1]:80",
            "[fd00:ec2::254]:80",
            "100.100.100.200:80",
        ];
        for address in protected {
            for allow in [None, Some("0.0.0.0/0 ::/0")] {
                assert_eq!(check(&reach(allow, ""), address), Err(Barred::Protected), "{address} {allow:?}");
            }
            let spelled_out = reach(None, "").check(address.parse().unwrap(), true, |_| false);
            assert_eq!(spelled_out, Ok(()), "{address}");
        }
        for (allow, address) in [
            ("169.254.0.0/16", "169.254.169.254:80"),
            ("169.254.169.254:80", "[::ffff:169.254.169.254]:80"),
            ("fe80::/10", "[fe80::1]:80"),
        ] {
            assert_eq!(check(&reach(Some(allow), ""), address), Ok(()), "{address}");
        }
        assert_eq!(check(&reach(None, ""), "192.0.2.7:80"), Ok(()));
    }

    #[test]
    fn our_own_addresses_must_be_named() {
        for address in
            ["127.0.0.1:6080", "0.0.0.0:6080", "10.0.0.1:6080", "10.0.0.1:6081", "[::1]:6082", "[::]:6082"]
        {
            for allow in [None, Some("0.0.0.0/0 ::/0"), Some("10.0.0.1 127.0.0.1 ::1")] {
                assert_eq!(check(&reach(allow, ""), address), Err(Barred::Own), "{address} {allow:?}");
            }
        }
        for address in ["127.0.0.1:6081", "10.0.0.2:6080", "10.0.0.1:5900"] {
            assert_eq!(check(&reach(None, ""), address), Ok(()), "{address}");
        }
        assert_eq!(check(&reach(Some("127.0.0.1:6080"), ""), "127.0.0.1:6080"), Ok(()));
    }

    #[test]
    fn denial_counts_before_permission() {
        let reach = reach(Some("10.0.0.0/8:5900-5999 unix:/run/vm/"), "10.9.0.0/16 unix:/run/vm/admin");
        for (address, result) in [
            ("10.1.0.1:5900", Ok(())),
            ("[::ffff:10.1.0.1]:5900", Ok(())),
            ("10.9.0.1:5900", Err(Barred::Denied)),
            ("[::ffff:10.9.0.1]:5900", Err(Barred::Denied)),
            ("[64:ff9b::a09:1]:5900", Err(Barred::Denied)),
            ("10.1.0.1:22", Err(Barred::NotAllowed)),
            ("[::1]:5900", Err(Barred::NotAllowed)),
        ] {
            assert_eq!(check(&reach, address), result, "{address}");
        }
        for (path, result) in [
            ("/run/vm/1", Ok(())),
            ("/run/vm/admin", Err(Barred::Denied)),
            ("/run/other", Err(Barred::NotAllowed)),
        ] {
            assert_eq!(reach.check_unix(Path::new(path)), result, "{path}");
        }
        assert!(reach.minds_paths());
    }
}
