use common::json;

use super::*;

/// 10.0.0.0/8 and ::1 are trusted. The request has come from a trusted proxy.
fn client_of(
    header: ProxyHeader,
    told: Option<&str>,
    fields: &[(&'static str, &str)],
) -> Result<String, ForwardedError> {
    let trusted = br#"{"trusted": ["10.0.0.0/8", "::1"]}"#;
    let proxy = Proxy { header, ..json::object(trusted).unwrap() };
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.as_bytes().try_into().unwrap());
    }
    let told = told.map(|told| told.parse().unwrap());
    let found = client(&proxy, told, &headers)?;
    Ok(found.map_or("proxy".to_owned(), |found| match found.port() {
        0 => found.ip().to_string(),
        _ => found.to_string(),
    }))
}

fn any(fields: &[(&'static str, &str)]) -> Result<String, ForwardedError> {
    client_of(ProxyHeader::Any, None, fields)
}

#[test]
fn the_client_is_the_right_most_hop_that_is_not_trusted() {
    for (list, client) in [
        ("192.0.2.1", "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, 10.0.0.9", "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1, 10.0.0.9", "192.0.2.1"),
        ("203.0.113.9, 10.0.0.8, 192.0.2.1, 10.0.0.9", "192.0.2.1"),
        ("10.0.0.7, 10.0.0.8, 10.0.0.9", "10.0.0.7"),
        ("192.0.2.1,10.0.0.8,10.0.0.9", "192.0.2.1"),
        ("127.0.0.1, 192.0.2.1", "192.0.2.1"),
        // The proxy of a client on this machine.
        ("127.0.0.1", "127.0.0.1"),
        ("192.0.2.1, ::1", "192.0.2.1"),
        ("192.0.2.1, [::1]:3128", "192.0.2.1"),
        ("192.0.2.1, ::ffff:10.0.0.9", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:40000", "192.0.2.1:40000"),
        ("192.0.2.1:40000", "192.0.2.1:40000"),
        ("192.0.2.1:40000, 10.0.0.9:50000", "192.0.2.1:40000"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:40000", "[2001:db8::1]:40000"),
        ("192.0.2.1, , ", "192.0.2.1"),
        (" \t192.0.2.1 ", "192.0.2.1"),
        // Not the prefix of a trusted address.
        ("203.0.113.9, 110.0.0.1", "110.0.0.1"),
        ("203.0.113.9, 10.0.0.1.example.com, 192.0.2.1", "192.0.2.1"),
    ] {
        assert_eq!(any(&[("x-forwarded-for", list)]).as_deref(), Ok(client), "{list}");
    }
}

#[test]
fn what_is_no_address_ends_the_chain() {
    for list in [
        "unknown",
        "_hidden",
        "_10.0.0.1",
        "",
        ",",
        "203.0.113.9, unknown",
        "203.0.113.9, _secret",
        "203.0.113.9, localhost",
        "203.0.113.9, client.example.com",
        "203.0.113.9, 192.0.2.1.",
        "203.0.113.9, 192.0.2",
        "203.0.113.9, 192.0.2.256",
        "203.0.113.9, 0300.0.2.1",
        "203.0.113.9, 3221225985",
        "203.0.113.9, 0xC0000201",
        "203.0.113.9, 192.0.2.1:",
        "203.0.113.9, 192.0.2.1:http",
        "203.0.113.9, 192.0.2.1:65536",
        "203.0.113.9, 192.0.2.1:+1",
        "203.0.113.9, 192.0.2.1:-1",
        "203.0.113.9, 192.0.2.1/32",
        "203.0.113.9, [192.0.2.1]",
        "203.0.113.9, [2001:db8::1",
        "203.0.113.9, 2001:db8::1]",
        "203.0.113.9, [2001:db8::1]40000",
        "203.0.113.9, [2001:db8::1]:",
        "203.0.113.9, [fe80::1%eth0]",
        "203.0.113.9, 2001:db8::1::2",
        "203.0.113.9, \"192.0.2.1\"",
        "203.0.113.9, for=192.0.2.1",
        "203.0.113.9 192.0.2.1",
        "203.0.113.9; 192.0.2.1",
        "203.0.113.9, 192.0.2.1\u{a0}",
        "203.0.113.9, １９２.0.2.1",
        "203.0.113.9, unix:",
    ] {
        assert_eq!(any(&[("x-forwarded-for", list)]).as_deref(), Ok("proxy"), "{list}");
        let behind_another = format!("{list}, 10.0.0.9");
        assert_eq!(
            any(&[("x-forwarded-for", &behind_another)]).as_deref(),
            Ok("10.0.0.9"),
            "{behind_another}"
        );
    }
}

#[test]
fn fields_of_one_name_are_one_list() {
    let lists = |lines: &[&str]| {
        let fields: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        any(&fields)
    };
    assert_eq!(lists(&["203.0.113.9", "192.0.2.1"]).as_deref(), Ok("192.0.2.1"));
    assert_eq!(lists(&["192.0.2.1", "10.0.0.9"]).as_deref(), Ok("192.0.2.1"));
    assert_eq!(lists(&["203.0.113.9, 192.0.2.1", "10.0.0.8", "10.0.0.9"]).as_deref(), Ok("192.0.2.1"));
    assert_eq!(lists(&["203.0.113.9", "unknown", "10.0.0.9"]).as_deref(), Ok("10.0.0.9"));
    assert_eq!(lists(&["192.0.2.1", ""]).as_deref(), Ok("192.0.2.1"));
    let real = [("x-real-ip", "203.0.113.9"), ("x-real-ip", "192.0.2.1")];
    assert_eq!(any(&real).as_deref(), Ok("192.0.2.1"));
    let forwarded = [("forwarded", "for=203.0.113.9"), ("forwarded", "for=192.0.2.1")];
    assert_eq!(any(&forwarded).as_deref(), Ok("192.0.2.1"));
}

#[test]
fn forwarded_is_read_by_its_grammar() {
    for (list, client) in [
        ("for=192.0.2.1", "192.0.2.1"),
        ("For=192.0.2.1;proto=https;by=203.0.113.43", "192.0.2.1"),
        ("proto=https;host=\"a,b;for=203.0.113.9\";FOR=192.0.2.1", "192.0.2.1"),
        ("for=\"192.0.2.1:40000\"", "192.0.2.1:40000"),
        ("for=\"[2001:db8::1]:40000\"", "[2001:db8::1]:40000"),
        ("for=\"[2001:db8::1]\"", "2001:db8::1"),
        ("for=203.0.113.9, for=192.0.2.1, for=10.0.0.9", "192.0.2.1"),
        ("for=192.0.2.1,for=\"[::1]:80\"", "192.0.2.1"),
        // Quotes that a client has sent hide nothing that the proxy has added.
        ("for=\"a\\\", for=203.0.113.9\", for=192.0.2.1", "192.0.2.1"),
        ("for=unknown", "proxy"),
        ("for=_hidden", "proxy"),
        ("for=\"_hidden:80\"", "proxy"),
        ("for=203.0.113.9, for=unknown", "proxy"),
        ("for=203.0.113.9, for=unknown, for=10.0.0.9", "10.0.0.9"),
        ("for=203.0.113.9, proto=https", "proxy"),
        ("for=203.0.113.9;for=192.0.2.1", "proxy"),
        ("for=203.0.113.9, for=", "proxy"),
        ("for=203.0.113.9, for", "proxy"),
        ("for=203.0.113.9, for =192.0.2.1", "proxy"),
        ("for=203.0.113.9, 192.0.2.1", "proxy"),
        ("for=203.0.113.9, xfor=192.0.2.1", "proxy"),
        ("for=203.0.113.9, by=192.0.2.1", "proxy"),
        ("for=203.0.113.9, for=\"192.0.2.1\\\"\"", "proxy"),
    ] {
        assert_eq!(any(&[("forwarded", list)]).as_deref(), Ok(client), "{list}");
    }
    for open in ["for=\"", "for=\"203.0.113.9, for=192.0.2.1", "for=192.0.2.1;x=\"\\\"", "\""] {
        assert_eq!(any(&[("forwarded", open)]), Err(ForwardedError::Unterminated), "{open}");
        // In a line of its own it does not matter whose it is.
        let lines = [("forwarded", open), ("forwarded", "for=192.0.2.1")];
        assert_eq!(any(&lines), Err(ForwardedError::Unterminated), "{open}");
    }
}

#[test]
fn headers_must_not_contradict_each_other() {
    let [xff, fwd, real] = ["x-forwarded-for", "forwarded", "x-real-ip"];
    for (fields, client) in [
        (&[(xff, "192.0.2.1"), (fwd, "for=203.0.113.9")][..], None),
        (&[(xff, "unknown"), (fwd, "for=203.0.113.9")], None),
        (&[(xff, "203.0.113.9"), (fwd, "for=unknown")], None),
        (&[(xff, "192.0.2.1"), (real, "203.0.113.9")], None),
        (&[(fwd, "for=192.0.2.1"), (real, "203.0.113.9")], None),
        (&[(xff, "192.0.2.1"), (fwd, "for=192.0.2.1"), (real, "203.0.113.9")], None),
        (&[(xff, "203.0.113.9, 192.0.2.1"), (real, "203.0.113.9")], None),
        (&[(xff, "192.0.2.1, 10.0.0.9"), (fwd, "for=10.0.0.9")], None),
        (&[(xff, "192.0.2.1"), (fwd, "for=\"192.0.2.1:40000\"")], Some("192.0.2.1:40000")),
        (&[(xff, "203.0.113.9, 192.0.2.1"), (fwd, "for=192.0.2.1")], Some("192.0.2.1")),
        (&[(xff, "192.0.2.1"), (real, "192.0.2.1")], Some("192.0.2.1")),
        (&[(xff, "192.0.2.1"), (real, "::ffff:192.0.2.1")], Some("192.0.2.1")),
        // The nearest proxy names either its own client or the first one.
        (&[(xff, "192.0.2.1, 10.0.0.9"), (real, "10.0.0.9")], Some("192.0.2.1")),
        (&[(xff, "192.0.2.1, 10.0.0.9"), (real, "192.0.2.1")], Some("192.0.2.1")),
        (&[(xff, "192.0.2.1"), (real, "unknown")], Some("192.0.2.1")),
        (&[(real, "192.0.2.1")], Some("192.0.2.1")),
        (&[(real, "203.0.113.9, 192.0.2.1")], Some("proxy")),
        (&[(real, "unknown")], Some("proxy")),
        (&[], Some("proxy")),
    ] {
        let expected = client.ok_or(ForwardedError::Contradiction);
        assert_eq!(any(fields).as_deref().map_err(|error| *error), expected, "{fields:?}");
    }
}

#[test]
fn only_the_configured_header_is_read() {
    let all = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.2"), ("x-real-ip", "192.0.2.3")];
    for (header, client) in [
        (ProxyHeader::XForwardedFor, "192.0.2.1"),
        (ProxyHeader::Forwarded, "192.0.2.2"),
        (ProxyHeader::XRealIp, "192.0.2.3"),
    ] {
        assert_eq!(client_of(header, None, &all).as_deref(), Ok(client));
    }
    let broken = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "\"")];
    assert_eq!(client_of(ProxyHeader::XForwardedFor, None, &broken).as_deref(), Ok("192.0.2.1"));
    assert_eq!(client_of(ProxyHeader::XRealIp, None, &broken).as_deref(), Ok("proxy"));
}

#[test]
fn headers_continue_the_chain_of_the_proxy_protocol() {
    let told = |told, list| client_of(ProxyHeader::Any, Some(told), &[("x-forwarded-for", list)]);
    assert_eq!(told("192.0.2.1:40000", "203.0.113.9").as_deref(), Ok("192.0.2.1:40000"));
    assert_eq!(told("10.0.0.9:40000", "192.0.2.1").as_deref(), Ok("192.0.2.1"));
    assert_eq!(told("10.0.0.9:40000", "unknown").as_deref(), Ok("10.0.0.9:40000"));
    let none = client_of(ProxyHeader::Any, Some("10.0.0.9:40000"), &[]);
    assert_eq!(none.as_deref(), Ok("10.0.0.9:40000"));
    // Whoever is not trusted can't have a request refused for its headers either.
    let broken = client_of(ProxyHeader::Any, Some("192.0.2.1:40000"), &[("forwarded", "\"")]);
    assert_eq!(broken.as_deref(), Ok("192.0.2.1:40000"));
}

#[test]
fn the_nearest_proxy_tells_host_and_scheme() {
    let asked = |header, fields: &[(&'static str, &str)]| {
        let proxy = Proxy { header, ..Proxy::default() };
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let mut asked = AskedFor { authority: Some(Secret::new("inside".into())), secured: None };
        correct(&proxy, &headers, &mut asked);
        (asked.authority.unwrap().reveal().to_owned(), asked.secured)
    };
    let [host, proto, fwd] = ["x-forwarded-host", "x-forwarded-proto", "forwarded"];
    for (fields, expected, secured) in [
        (&[(host, "a.example"), (proto, "https")][..], "a.example", Some(true)),
        (&[(host, "b.example, a.example"), (proto, "https, http")], "a.example", Some(false)),
        (&[(host, "b.example"), (host, "a.example:8443"), (proto, "HTTPS")], "a.example:8443", Some(true)),
        (&[(fwd, "for=192.0.2.1;host=\"a.example:80\";proto=http")], "a.example:80", Some(false)),
        (&[(fwd, "host=b.example;proto=http, host=a.example")], "a.example", None),
        (&[(fwd, "host=b.example"), (host, "a.example")], "a.example", None),
        (&[(host, ""), (proto, "gopher")], "inside", None),
        (&[], "inside", None),
    ] {
        assert_eq!(asked(ProxyHeader::Any, fields), (expected.to_owned(), secured), "{fields:?}");
    }
    let both = [(host, "a.example"), (fwd, "host=b.example")];
    assert_eq!(asked(ProxyHeader::Forwarded, &both).0, "b.example");
    assert_eq!(asked(ProxyHeader::XForwardedFor, &both[1..]).0, "inside");
}

#[test]
fn a_chain_is_followed_for_a_bounded_number_of_hops() {
    let list = vec!["10.0.0.1"; 20_000].join(",");
    assert_eq!(any(&[("x-forwarded-for", &format!("192.0.2.1,{list}"))]).as_deref(), Ok("10.0.0.1"));
    assert_eq!(any(&[("x-forwarded-for", &format!("{list},192.0.2.1"))]).as_deref(), Ok("192.0.2.1"));
}
