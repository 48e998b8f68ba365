//! The header by which targets learn who the client is: the PROXY protocol of HAProxy, versions 1 and 2
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! It has the addresses of the connection between the client and us, and is written before anything else, TLS included.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use common::config::ProxyProtocol;
use common::ipc::ClientAddr;
use common::sys::reactor::{After, Registered};
use rustix::net::{SendFlags, send};
use tokio::io::Interest;
use tokio::time::{Instant, timeout_at};

use super::dial::DialError;

/// The first bytes of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2 with the command PROXY and TCP over IPv4, or TCP over IPv6.
const PROXY_IPV4: [u8; 2] = [0x21, 0x11];
const PROXY_IPV6: [u8; 2] = [0x21, 0x21];

/// Version 2 with the command LOCAL and no address. HAProxy sends that where it knows none, and ends connections with the
/// command PROXY and no address.
const LOCAL: [u8; 2] = [0x20, 0x00];

/// `PP2_TYPE_SSL`, and its parts: `PP2_SUBTYPE_SSL_VERSION`, `PP2_SUBTYPE_SSL_CN`.
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;

/// `PP2_CLIENT_SSL`, and `PP2_CLIENT_CERT_CONN` with `PP2_CLIENT_CERT_SESS`.
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERTIFICATE: u8 = 0x06;

/// Maximum length of a common name, in bytes; X.509 allows 64 characters.
const MAX_COMMON_NAME: usize = 256;

/// Maximum length of the name of a TLS version, in bytes, such as `TLSv1.3`.
const MAX_TLS_VERSION: usize = 16;

/// What a target is told of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) client: &'a ClientAddr,
    /// The address that the client has connected to.
    pub(super) listener: Option<SocketAddr>,
    /// The version of the client's TLS, if it uses that.
    pub(super) tls: Option<&'a str>,
    /// The common name of the client's certificate.
    pub(super) common_name: Option<&'a str>,
}

impl Subject<'_> {
    /// The header; `None` if none is configured.
    pub(super) fn header(&self, version: ProxyProtocol) -> Option<Vec<u8>> {
        match version {
            ProxyProtocol::Off => None,
            ProxyProtocol::V1 => Some(self.version_1().into_bytes()),
            ProxyProtocol::V2 => Some(self.version_2()),
        }
    }

    /// Both addresses in the same family; `None` for a client of a unix socket.
    fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        let (ClientAddr::Ip(client), Some(listener)) = (self.client, self.listener) else { return None };
        let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let mapped = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
            IpAddr::V6(_) => address,
        };
        let (client, listener) = (plain(*client), plain(listener));
        // A proxy in front may vouch for a client of another family.
        match client.is_ipv4() == listener.is_ipv4() {
            true => Some((client, listener)),
            false => Some((mapped(client), mapped(listener))),
        }
    }

    fn version_1(&self) -> String {
        let Some((client, listener)) = self.addresses() else { return "PROXY UNKNOWN\r\n".to_owned() };
        let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
        let (from, to) = (client.ip(), listener.ip());
        format!("PROXY {family} {from} {to} {} {}\r\n", client.port(), listener.port())
    }

    fn version_2(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        let mut kind = LOCAL;
        if let Some((client, listener)) = self.addresses() {
            for ip in [client.ip(), listener.ip()] {
                match ip {
                    IpAddr::V4(ip) => rest.extend(ip.octets()),
                    IpAddr::V6(ip) => rest.extend(ip.octets()),
                }
            }
            rest.extend(client.port().to_be_bytes());
            rest.extend(listener.port().to_be_bytes());
            kind = if client.is_ipv4() { PROXY_IPV4 } else { PROXY_IPV6 };
        }
        // The gateway's word, which must not exceed what the lengths can tell.
        if let Some(version) = self.tls.filter(|version| version.len() <= MAX_TLS_VERSION) {
            let common_name = self.common_name.filter(|name| name.len() <= MAX_COMMON_NAME);
            let certificate = if self.common_name.is_some() { CLIENT_CERTIFICATE } else { 0 };
            // 0 means that the client has a certificate that was verified.
            let unverified = u32::from(self.common_name.is_none());
            let mut ssl = vec![CLIENT_SSL | certificate];
            ssl.extend(unverified.to_be_bytes());
            push(&mut ssl, SSL_VERSION, version.as_bytes());
            if let Some(name) = common_name {
                push(&mut ssl, SSL_CN, name.as_bytes());
            }
            push(&mut rest, SSL, &ssl);
        }
        let mut header = SIGNATURE.to_vec();
        header.extend(kind);
        header.extend(length(&rest));
        header.extend(rest);
        header
    }
}

/// Appends a value with its type and length.
fn push(to: &mut Vec<u8>, kind: u8, value: &[u8]) {
    to.push(kind);
    to.extend(length(value));
    to.extend(value);
}

/// The length in two bytes; all values have bounds far below that.
fn length(value: &[u8]) -> [u8; 2] {
    u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// Writes a header to a connected socket before `deadline`.
pub(super) async fn write(socket: OwnedFd, header: &[u8], deadline: Instant) -> Result<OwnedFd, DialError> {
    let mut left = header;
    let socket = Registered::new(socket, Interest::WRITABLE).map_err(DialError::Connect)?;
    let write_rest = std::future::poll_fn(|cx| {
        socket.poll_write(cx, |socket| -> io::Result<((), After)> {
            while !left.is_empty() {
                let count = send(socket.as_fd(), left, SendFlags::NOSIGNAL)?;
                left = &left[count..];
            }
            Ok(((), After::Ready))
        })
    });
    timeout_at(deadline, write_rest).await.map_err(|_| DialError::TimedOut)?.map_err(DialError::Connect)?;
    Ok(socket.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject<'a>(client: &'a ClientAddr, listener: Option<&str>) -> Subject<'a> {
        let listener = listener.map(|text| text.parse().unwrap());
        Subject { client, listener, tls: None, common_name: None }
    }

    fn ip(text: &str) -> ClientAddr {
        ClientAddr::Ip(text.parse().unwrap())
    }

    #[test]
    fn version_1_is_a_line() {
        for (client, listener, line) in [
            ("192.0.2.7:40000", Some("198.51.100.1:6080"), "TCP4 192.0.2.7 198.51.100.1 40000 6080"),
            ("[2001:db8::7]:1", Some("[2001:db8::1]:2"), "TCP6 2001:db8::7 2001:db8::1 1 2"),
            ("[::ffff:192.0.2.7]:1", Some("[::ffff:192.0.2.1]:2"), "TCP4 192.0.2.7 192.0.2.1 1 2"),
            ("[2001:db8::7]:0", Some("192.0.2.1:2"), "TCP6 2001:db8::7 ::ffff:192.0.2.1 0 2"),
            ("192.0.2.7:1", Some("[2001:db8::1]:2"), "TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2"),
            ("192.0.2.7:1", None, "UNKNOWN"),
        ] {
            assert_eq!(subject(&ip(client), listener).version_1(), format!("PROXY {line}\r\n"));
        }
        let unix = ClientAddr::Unix("/run/vnc.sock".into());
        assert_eq!(subject(&unix, None).version_1(), "PROXY UNKNOWN\r\n");
    }

    #[test]
    fn version_2_has_lengths_and_the_clients_certificate() {
        let client = ip("192.0.2.7:256");
        let plain = subject(&client, Some("198.51.100.1:2"));
        assert_eq!(
            plain.version_2(),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x01\0\0\x02"
        );
        let named = Subject { tls: Some("TLSv1.3"), common_name: Some("anna"), ..plain };
        let ssl = b"\x20\0\x16\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x04anna";
        assert!(named.version_2().ends_with(ssl) && named.version_2()[14..16] == [0, 0x25]);
        let unnamed = Subject { common_name: None, ..named };
        assert!(unnamed.version_2().ends_with(b"\x20\0\x0f\x01\0\0\0\x01\x21\0\x07TLSv1.3"));
        let unix = ClientAddr::Unix("/run/vnc.sock".into());
        assert_eq!(subject(&unix, None).version_2(), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    }
}
