//! What proxies and their clients say of a client's address: the header of the PROXY protocol, and the chain in the
//! headers of a request.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use common::config::{Proxy, ProxyHeader};
use common::networks::Networks;
use hyper::HeaderMap;
use hyper::header::HeaderValue;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use worker::gateway::http::forwarded::{self, ForwardedError};
use worker::gateway::proxy_header::{self, ProxyHeaderError};

/// The longest header: 16 bytes and a body of version 2.
const LONGEST: usize = 16 + 4096;

/// Nobody's proxy.
const CLIENT: &str = "192.0.2.1";

fuzz_target!(|input: &[u8]| {
    proxy_protocol(input);
    let lines: Vec<_> = input.split(|byte| *byte == b'\n').collect();
    for (header, name, last) in [
        (ProxyHeader::XForwardedFor, "x-forwarded-for", CLIENT.to_owned()),
        (ProxyHeader::Forwarded, "forwarded", format!("for={CLIENT}")),
        (ProxyHeader::XRealIp, "x-real-ip", CLIENT.to_owned()),
        (ProxyHeader::Any, "x-forwarded-for", CLIENT.to_owned()),
    ] {
        headers(header, name, &last, &lines);
    }
});

/// A header is read to its end and no further, and part of one is none.
fn proxy_protocol(input: &[u8]) {
    let event_loop = tokio::runtime::Builder::new_current_thread().build().expect("an event loop");
    let read = |bytes: &[u8], event_loop: &Runtime| {
        let mut rest = bytes;
        let client = event_loop.block_on(proxy_header::read(&mut rest));
        client.map(|client| (client, bytes.len() - rest.len()))
    };
    let Ok((client, length)) = read(input, &event_loop) else { return };
    assert!(length <= LONGEST);
    assert!(client.is_none_or(|client| client.ip().to_canonical() == client.ip()));
    let (again, same) = read(&input[..length], &event_loop).expect("the same header");
    assert_eq!((again, same), (client, length));
    let part = read(&input[..length - 1], &event_loop);
    assert!(matches!(part, Err(ProxyHeaderError::Incomplete(_))));
}

/// Whatever a client sends, the client is the address that the proxy adds, or the request is refused.
fn headers(header: ProxyHeader, name: &'static str, last: &str, lines: &[&[u8]]) {
    let trusted = postcard::to_stdvec(&vec!["10.0.0.0/8", "::1"]).expect("a list");
    let trusted: Networks = postcard::from_bytes(&trusted).expect("networks");
    let proxy = Proxy { trusted, header };
    let mut sent = HeaderMap::new();
    for (number, line) in lines.iter().enumerate() {
        let Ok(value) = HeaderValue::from_bytes(line) else { continue };
        let name = match header {
            ProxyHeader::Any => ["x-forwarded-for", "forwarded", "x-real-ip"][number % 3],
            _ => name,
        };
        sent.append(name, value);
    }
    // Read without an addition, only that nothing panics and a trusted address does not end the chain early.
    let _ = forwarded::client(&proxy, None, &sent);
    let mut added = sent.clone();
    added.append(name, last.parse().expect("a value"));
    expect(&forwarded::client(&proxy, None, &added), header);
    // The same at the end of the last line, except for a field that is no list.
    if header != ProxyHeader::XRealIp {
        let before = sent.get_all(name).iter().next_back().cloned();
        let mut joined: Vec<_> = sent.get_all(name).iter().cloned().collect();
        joined.pop();
        let line = [before.as_ref().map_or(&b""[..], HeaderValue::as_bytes), b", ", last.as_bytes()].concat();
        joined.push(HeaderValue::from_bytes(&line).expect("a value"));
        let mut added = sent.clone();
        added.remove(name);
        for line in joined {
            added.append(name, line);
        }
        expect(&forwarded::client(&proxy, None, &added), header);
    }
    // Whom the PROXY protocol names is not asked for more.
    let told = SocketAddr::new(IpAddr::from([203, 0, 113, 9]), 1);
    assert_eq!(forwarded::client(&proxy, Some(told), &sent), Ok(Some(told)));
}

fn expect(found: &Result<Option<SocketAddr>, ForwardedError>, header: ProxyHeader) {
    match found {
        Ok(client) => assert_eq!(client.map(|client| client.ip().to_string()).as_deref(), Some(CLIENT)),
        Err(_) => assert!(matches!(header, ProxyHeader::Any | ProxyHeader::Forwarded)),
    }
}
