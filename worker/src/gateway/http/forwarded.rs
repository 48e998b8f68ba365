//! The client of a request that has come through proxies: the right-most address in their chain that is not one of
//! theirs. And the host and the scheme that the client has asked for.
//!
//! A proxy adds the address of its own client at the right end. So the right-most address is the word of the proxy that
//! has connected to us, and each further one that of the address to its right. The walk to the left ends with the first
//! address that is not trusted, as whatever is left of it may come from the client.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use common::config::{Proxy, ProxyHeader, Secret};
use common::ipc::admission::AskedFor;
use hyper::HeaderMap;
use hyper::header::{self, HeaderName};
use thiserror::Error;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Maximum number of proxies in a chain that are followed. No sensible chain has more than five.
const MAX_HOPS: usize = 32;

/// The headers of a request don't tell who the client is, although a trusted proxy has sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ForwardedError {
    /// They name different clients, so that at least one comes from the client itself.
    #[error("headers of a proxy name different clients; proxy.header tells which one it sets")]
    Contradiction,
    /// A quoted string of `Forwarded` does not end. It may hide what a proxy has added.
    #[error("a quoted string in the header Forwarded does not end")]
    Unterminated,
}

/// Determines the client of a request that a trusted proxy has sent. `told` is the address that the PROXY protocol has
/// told. Returns `None` if the proxy itself is the client, or does not tell for whom it asks.
///
/// # Errors
///
/// Fails if the headers contradict each other or can't be parsed. Who sends such a request must not pass for the proxy.
pub fn client(
    proxy: &Proxy,
    told: Option<SocketAddr>,
    headers: &HeaderMap,
) -> Result<Option<SocketAddr>, ForwardedError> {
    let is_trusted = |address: &SocketAddr| proxy.trusted.contains(address.ip());
    if told.as_ref().is_some_and(|told| !is_trusted(told)) {
        return Ok(told);
    }
    // The trusted proxies from right to left, and the client at the end.
    let walk = |hops: Vec<Option<SocketAddr>>| {
        let mut path = Vec::new();
        for hop in hops.into_iter().take(MAX_HOPS).map_while(|hop| hop) {
            path.push(hop);
            if !is_trusted(&hop) {
                break;
            }
        }
        path
    };
    let reads = |header| proxy.header == ProxyHeader::Any || proxy.header == header;
    let forwarded = if reads(ProxyHeader::Forwarded) { forwarded(headers)?.map(walk) } else { None };
    let list = if reads(ProxyHeader::XForwardedFor) { x_forwarded_for(headers).map(walk) } else { None };
    let nearest = if reads(ProxyHeader::XRealIp) { x_real_ip(headers) } else { None };
    let ip = |address: &SocketAddr| address.ip();
    if let (Some(one), Some(other)) = (&forwarded, &list) {
        if one.last().map(ip) != other.last().map(ip) {
            return Err(ForwardedError::Contradiction);
        }
    }
    let path = match (forwarded.or(list), nearest) {
        (Some(path), Some(nearest)) if !path.iter().any(|hop| hop.ip() == nearest.ip()) => {
            return Err(ForwardedError::Contradiction);
        }
        (Some(path), _) => path,
        (None, nearest) => nearest.into_iter().collect(),
    };
    Ok(path.last().copied().or(told))
}

/// Replaces the host and the scheme that a client asks for by those that a trusted proxy has told, which has sent the
/// request: `X-Forwarded-Host` and `X-Forwarded-Proto`, or those of `Forwarded`.
pub fn correct(proxy: &Proxy, headers: &HeaderMap, asked: &mut AskedFor) {
    let (mut host, mut scheme) = (None, None);
    if proxy.header != ProxyHeader::Forwarded {
        (host, scheme) = (last(headers, &X_FORWARDED_HOST), last(headers, &X_FORWARDED_PROTO));
    }
    let reads_forwarded = matches!(proxy.header, ProxyHeader::Any | ProxyHeader::Forwarded);
    if let Some(element) = last(headers, &header::FORWARDED).filter(|_| reads_forwarded) {
        host = host.or_else(|| parameter(element, "host"));
        scheme = scheme.or_else(|| parameter(element, "proto"));
    }
    if let Some(host) = host.filter(|host| !host.is_empty()) {
        asked.authority = Some(Secret::new(host.to_owned()));
    }
    match scheme.map(str::to_ascii_lowercase).as_deref() {
        Some("https" | "wss") => asked.secured = Some(true),
        Some("http" | "ws") => asked.secured = Some(false),
        _ => {}
    }
}

/// The right-most element of a list, which is the word of the nearest proxy.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let line = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    unquoted_split(line, ',')?.pop().map(trimmed)
}

/// The addresses in `X-Forwarded-For`, from right to left; `None` for what is not an address.
fn x_forwarded_for(headers: &HeaderMap) -> Option<Vec<Option<SocketAddr>>> {
    let mut is_there = false;
    let mut hops = Vec::new();
    for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        is_there = true;
        let line = String::from_utf8_lossy(line.as_bytes());
        // Empty elements of a list don't count (RFC 9110 section 5.6.1).
        let elements = line.rsplit(',').map(trimmed).filter(|element| !element.is_empty());
        hops.extend(elements.take(MAX_HOPS).map(address));
    }
    is_there.then_some(hops)
}

/// The address in the last `X-Real-IP`, if it is one.
fn x_real_ip(headers: &HeaderMap) -> Option<SocketAddr> {
    let last = headers.get_all(X_REAL_IP).iter().next_back()?;
    address(trimmed(last.to_str().ok()?))
}

/// The values of `for` in `Forwarded`, from right to left; `None` for an element without an address.
fn forwarded(headers: &HeaderMap) -> Result<Option<Vec<Option<SocketAddr>>>, ForwardedError> {
    let mut is_there = false;
    let mut hops = Vec::new();
    for line in headers.get_all(header::FORWARDED).iter().rev() {
        is_there = true;
        let line = String::from_utf8_lossy(line.as_bytes());
        let elements = unquoted_split(&line, ',').ok_or(ForwardedError::Unterminated)?;
        let elements = elements.into_iter().rev().filter(|element| !trimmed(element).is_empty());
        hops.extend(elements.take(MAX_HOPS).map(element_client));
    }
    Ok(is_there.then_some(hops))
}

/// The address in an element of `Forwarded`.
fn element_client(element: &str) -> Option<SocketAddr> {
    address(parameter(element, "for")?)
}

/// The value of the only parameter of this name in an element of `Forwarded` (RFC 7239 section 4).
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let pairs = unquoted_split(element, ';')?;
    let pairs = pairs.iter().filter_map(|pair| trimmed(pair).split_once('='));
    let mut values = pairs.filter(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let value = values.next().filter(|_| values.next().is_none())?;
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    // Neither addresses nor hosts contain what would have to be escaped.
    Some(quoted.unwrap_or(value))
}

/// Splits `text` where `separator` is not within a quoted string (RFC 9110 section 5.6.4). Returns `None` if such a
/// string does not end.
fn unquoted_split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut is_quoted, mut is_escaped, mut start) = (false, false, 0);
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            c if c == separator && !is_quoted => {
                parts.push(text.get(start..at)?);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(start..)?);
    (!is_quoted).then_some(parts)
}

/// Without the optional white space around list elements (RFC 9110 section 5.6.3).
fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Parses an address as proxies write it: `192.0.2.1`, `192.0.2.1:40000`, `2001:db8::1`, `[2001:db8::1]` or
/// `[2001:db8::1]:40000`. The port is 0 if there is none. Names, `unknown` and obfuscated identifiers (RFC 7239
/// section 6.3) are no addresses.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port): (IpAddr, _) = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        (
            IpAddr::V6(address.parse().ok()?),
            if port.is_empty() { None } else { Some(port.strip_prefix(':')?) },
        )
    } else if let Ok(address) = text.parse() {
        (address, None)
    } else {
        let (address, port) = text.split_once(':')?;
        (IpAddr::V4(address.parse::<Ipv4Addr>().ok()?), Some(port))
    };
    let is_number = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.map_or(Some(0), |port| Some(port).filter(is_number)?.parse().ok())?;
    Some(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests;
