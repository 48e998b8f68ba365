//! Finds listeners on a loopback port in the kernel's tables (proc(5), net/tcp). A test connection would not
//! do, as many programs serve one connection only.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state `TCP_LISTEN` of include/net/tcp_states.h.
const LISTEN: &str = "0A";

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    /// Address to connect to.
    pub(super) address: SocketAddr,
    /// User who created the socket.
    pub(super) uid: u32,
}

/// Finds the listening socket on `port` of loopback. IPv4 takes precedence.
pub(super) fn on(port: u16) -> io::Result<Option<Listener>> {
    let found = first(BufReader::new(File::open("/proc/thread-self/net/tcp")?), port)?;
    if found.is_some() {
        return Ok(found);
    }
    match File::open("/proc/thread-self/net/tcp6") {
        Ok(table) => first(BufReader::new(table), port),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The kernel lists listening sockets before all others, of which there may be many.
fn first(table: impl BufRead, port: u16) -> io::Result<Option<Listener>> {
    for line in table.lines().skip(1) {
        let line = line?;
        let fields: Vec<_> = line.split_ascii_whitespace().take(8).collect();
        let [_, address, _, state, _, _, _, uid] = fields[..] else { break };
        if state != LISTEN {
            break;
        }
        let address = parse(address).filter(|found| found.port() == port && found.ip().is_loopback());
        if let (Some(address), Ok(uid)) = (address, uid.parse()) {
            return Ok(Some(Listener { address, uid }));
        }
    }
    Ok(None)
}

/// Parses `0100007F:1F90`: 32-bit words in memory order, then the port. An IPv6 socket that listens on an
/// IPv4 address is reached at the IPv4 address.
fn parse(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = address.get(8 * at..8 * at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_found_as_long_as_it_listens() {
        for host in ["127.0.0.1", "::1"] {
            let listener = TcpListener::bind((host, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let found = on(address.port()).unwrap().unwrap();
            assert_eq!((found.address, found.uid), (address, rustix::process::getuid().as_raw()));
            drop(listener);
            assert_eq!(on(address.port()).unwrap(), None);
        }
    }

    #[test]
    fn the_table_of_the_kernel_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n\
            0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1 0 2\n\
            1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  7 0 2\n\
            2: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  7 0 2\n";
        let found = Listener { address: "127.0.0.1:8080".parse().unwrap(), uid: 7 };
        assert_eq!(first(table.as_bytes(), 8080).unwrap(), Some(found));
        assert_eq!(first(table.as_bytes(), 8081).unwrap(), None);
        assert_eq!(first(&b"junk\njunk\n"[..], 8080).unwrap(), None);
        let mapped = "0000000000000000FFFF00000100007F:1F90";
        assert_eq!(parse(mapped), Some("127.0.0.1:8080".parse().unwrap()));
        assert_eq!(parse("00000000000000000000000001000000:0001"), Some("[::1]:1".parse().unwrap()));
    }
}
