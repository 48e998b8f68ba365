//! The header of the PROXY protocol, versions 1 and 2, with which a proxy that forwards TCP tells the address of its
//! client before anything else (<https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt>).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of version 1.
const START_1: &[u8; 6] = b"PROXY ";

/// The first bytes of version 2.
const START_2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Maximum length of version 1 in bytes, with its line end (section 2.1).
const MAX_LINE: usize = 107;

/// Maximum length of what follows the first 16 bytes of version 2: addresses, and TLVs such as the name of a TLS
/// server. A header of 536 bytes always fits into a packet (section 2.2), and proxies send less.
const MAX_BODY: usize = 4096;

/// The reason why the first bytes of a connection are no header.
#[derive(Debug, Error)]
pub enum ProxyHeaderError {
    /// They begin otherwise.
    #[error("the first bytes are no PROXY header")]
    Missing,
    /// They begin like one.
    #[error("the PROXY header is invalid")]
    Invalid,
    /// The header exceeds its bound.
    #[error("the PROXY header is too long")]
    TooLong,
    /// The stream has ended or failed before the end of the header.
    #[error("no complete PROXY header: {0}")]
    Incomplete(#[from] io::Error),
}

/// Reads a header and nothing beyond it. Returns the address of the client, or `None` if the proxy has connected for
/// itself or does not know its client.
///
/// # Errors
///
/// Fails if there is no valid header. The connection must be closed then.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let mut start = [0; START_2.len()];
    let (first, rest) = start.split_at_mut(START_1.len());
    stream.read_exact(first).await?;
    if first != START_1 && !START_2.starts_with(first) {
        return Err(ProxyHeaderError::Missing);
    }
    // The shortest header has 15 bytes.
    stream.read_exact(rest).await?;
    match &start {
        START_2 => read_2(stream).await,
        _ if start.starts_with(START_1) => read_1(stream, &start).await,
        _ => Err(ProxyHeaderError::Missing),
    }
}

/// Reads the rest of a line that begins with `start`.
async fn read_1(
    stream: &mut (impl AsyncRead + Unpin),
    start: &[u8],
) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        let more = if line.ends_with(b"\r") { 1 } else { 2 };
        if line.len() + more > MAX_LINE {
            return Err(ProxyHeaderError::TooLong);
        }
        let mut bytes = [0; 2];
        let bytes = bytes.get_mut(..more).unwrap_or_default();
        stream.read_exact(bytes).await?;
        line.extend_from_slice(bytes);
    }
    let line = line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok());
    let line = line.filter(|line| !line.contains(char::is_control)).ok_or(ProxyHeaderError::Invalid)?;
    line_client(line).ok_or(ProxyHeaderError::Invalid)
}

/// The client in a line of version 1 (section 2.1).
fn line_client(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ');
    let (_, family) = (words.next()?, words.next()?);
    if family == "UNKNOWN" {
        // The rest of the line means nothing.
        return Some(None);
    }
    let mut word = || words.next();
    let [source, destination, source_port, destination_port] = [word()?, word()?, word()?, word()?];
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    let port = |text: &str| {
        let is_number =
            text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        text.parse::<u16>().ok().filter(|_| is_number)
    };
    let client = SocketAddr::new(address(source)?.to_canonical(), port(source_port)?);
    let is_complete = address(destination).is_some() && port(destination_port).is_some();
    (is_complete && words.next().is_none()).then_some(Some(client))
}

/// Reads what follows the first bytes of version 2 (section 2.2).
async fn read_2(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed).await?;
    let [command, family, length @ ..] = fixed;
    let length = usize::from(u16::from_be_bytes(length));
    if length > MAX_BODY {
        return Err(ProxyHeaderError::TooLong);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    body_client(command, family, &body).ok_or(ProxyHeaderError::Invalid)
}

/// The client in the body of version 2. The TLVs after the addresses are skipped.
fn body_client(command: u8, family: u8, body: &[u8]) -> Option<Option<SocketAddr>> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    const UNSPECIFIED: u8 = 0x00;
    const TCP_4: u8 = 0x11;
    const TCP_6: u8 = 0x21;
    const UNIX_STREAM: u8 = 0x31;
    let client = match (command, family) {
        (LOCAL, _) | (PROXY, UNSPECIFIED) => None,
        (PROXY, TCP_4) => {
            let (source, ports) = (body.first_chunk::<4>()?, body.get(8..12)?);
            Some(SocketAddr::new(Ipv4Addr::from(*source).into(), first_port(ports)?))
        }
        (PROXY, TCP_6) => {
            let (source, ports) = (body.first_chunk::<16>()?, body.get(32..36)?);
            Some(SocketAddr::new(IpAddr::from(*source).to_canonical(), first_port(ports)?))
        }
        // The client has connected to the proxy over a unix socket.
        (PROXY, UNIX_STREAM) if body.len() >= 216 => None,
        _ => return None,
    };
    Some(client)
}

fn first_port(ports: &[u8]) -> Option<u16> {
    ports.first_chunk().map(|port| u16::from_be_bytes(*port))
}

#[cfg(test)]
mod tests;
