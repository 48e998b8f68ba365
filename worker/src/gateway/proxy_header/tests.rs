use super::*;

/// What a header says, and what is left after it.
fn parsed(bytes: &[u8]) -> Result<(Option<String>, Vec<u8>), String> {
    let event_loop = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut rest = bytes;
    let client = event_loop.block_on(read(&mut rest)).map_err(|error| format!("{error:?}"))?;
    Ok((client.map(|client| client.to_string()), rest.to_vec()))
}

fn version_2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [START_2, &[command, family][..], &length, body].concat()
}

fn tcp_4(tlvs: &[u8]) -> Vec<u8> {
    let addresses = [192, 0, 2, 1, 203, 0, 113, 1, 0x9c, 0x40, 0x17, 0xc0];
    version_2(0x21, 0x11, &[&addresses, tlvs].concat())
}

#[test]
fn both_versions_name_the_client_and_nothing_beyond_them_is_read() {
    let tcp_6 = ["2001:db8::1", "::1"].map(|text| text.parse::<Ipv6Addr>().unwrap().octets()).concat();
    let tcp_6 = version_2(0x21, 0x21, &[&tcp_6[..], &[0x9c, 0x40, 0, 80]].concat());
    let mapped = ["::ffff:192.0.2.1", "::1"].map(|text| text.parse::<Ipv6Addr>().unwrap().octets()).concat();
    let mapped = version_2(0x21, 0x21, &[&mapped[..], &[0x9c, 0x40, 0, 80]].concat());
    for (header, client) in [
        (b"PROXY TCP4 192.0.2.1 203.0.113.1 40000 6080\r\n".to_vec(), Some("192.0.2.1:40000")),
        (b"PROXY TCP4 192.0.2.1 203.0.113.1 0 0\r\n".to_vec(), Some("192.0.2.1:0")),
        (b"PROXY TCP6 2001:db8::1 ::1 40000 80\r\n".to_vec(), Some("[2001:db8::1]:40000")),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 40000 80\r\n".to_vec(), Some("192.0.2.1:40000")),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN whatever stands here\r\n".to_vec(), None),
        (tcp_4(b""), Some("192.0.2.1:40000")),
        (tcp_4(b"\x01\x00\x02h2\x04\x00\x00"), Some("192.0.2.1:40000")),
        (tcp_4(&[4; MAX_BODY - 12]), Some("192.0.2.1:40000")),
        (tcp_6, Some("[2001:db8::1]:40000")),
        (mapped, Some("192.0.2.1:40000")),
        (version_2(0x20, 0x00, b""), None),
        (version_2(0x20, 0x11, &[192, 0, 2, 1, 203, 0, 113, 1, 0, 1, 0, 2]), None),
        (version_2(0x20, 0xff, &[1; 100]), None),
        (version_2(0x21, 0x00, &[1; 40]), None),
        (version_2(0x21, 0x31, &[0; 216]), None),
    ] {
        for rest in [&b"GET / HTTP/1.1\r\n"[..], b"", b"\n", &header] {
            let stream = [&header, rest].concat();
            let expected = (client.map(ToOwned::to_owned), rest.to_vec());
            assert_eq!(parsed(&stream), Ok(expected), "{}", header.escape_ascii());
        }
        for end in 0..header.len() {
            let error = parsed(&header[..end]).unwrap_err();
            assert!(error.starts_with("Incomplete"), "{error} after {}", header[..end].escape_ascii());
        }
    }
}

#[test]
fn what_is_no_header_is_rejected() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\n\r\n",
        b"PROXYTCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00",
        b"\r\n\r\n\0\r\nQUIT\r\0\0\0\0\0",
        b"\r\n\r\n\0\r\nquit\n\x21\x11\0\0",
        b"\n\r\n\r\n\0\r\nQUIT\n\0\0\0",
    ] {
        assert_eq!(parsed(bytes), Err("Missing".to_owned()), "{}", bytes.escape_ascii());
    }
}

#[test]
fn invalid_headers_of_version_1_are_rejected() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE));
    for (line, error) in [
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", "Invalid"),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", "Invalid"),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", "Invalid"),
        ("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", "Invalid"),
        ("PROXY TCP4\t192.0.2.1 192.0.2.2 1 2\r\n", "Invalid"),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", "Invalid"),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 65536 1\r\n", "Invalid"),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", "Invalid"),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", "Invalid"),
        ("PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n", "Invalid"),
        ("PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", "Invalid"),
        ("PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n", "Invalid"),
        ("PROXY TCP4 192.0.2.1 nowhere 1 2\r\n", "Invalid"),
        ("PROXY TCP4 2001:db8::1 ::1 1 2\r\n", "Invalid"),
        ("PROXY TCP4 ::ffff:192.0.2.1 192.0.2.2 1 2\r\n", "Invalid"),
        ("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", "Invalid"),
        ("PROXY TCP6 [2001:db8::1] ::1 1 2\r\n", "Invalid"),
        ("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "Invalid"),
        ("PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", "Invalid"),
        ("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", "Invalid"),
        ("PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n", "Invalid"),
        ("PROXY UNKNOWNS\r\n", "Invalid"),
        ("PROXY  \r\n      \r\n", "Invalid"),
        ("PROXY TCP4 192.0.2.1\n192.0.2.2 1 2\r\n", "Invalid"),
        ("PROXY TCP4 192.0.2.1\r192.0.2.2 1 2\r\n", "Invalid"),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\0\r\n", "Invalid"),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\nGET / HTTP/1.1\r\n", "Invalid"),
        (&long, "TooLong"),
    ] {
        assert_eq!(parsed(line.as_bytes()), Err(error.to_owned()), "{line:?}");
    }
}

#[test]
fn invalid_headers_of_version_2_are_rejected() {
    let addresses = [192, 0, 2, 1, 203, 0, 113, 1, 0, 1, 0, 2];
    for (header, error) in [
        (version_2(0x21, 0x11, &addresses[..11]), "Invalid"),
        (version_2(0x21, 0x11, b""), "Invalid"),
        (version_2(0x21, 0x21, &addresses), "Invalid"),
        (version_2(0x21, 0x21, &[0; 35]), "Invalid"),
        (version_2(0x21, 0x31, &[0; 215]), "Invalid"),
        (version_2(0x21, 0x12, &addresses), "Invalid"),
        (version_2(0x21, 0x22, &[0; 36]), "Invalid"),
        (version_2(0x21, 0x32, &[0; 216]), "Invalid"),
        (version_2(0x21, 0x41, &addresses), "Invalid"),
        (version_2(0x21, 0x01, &addresses), "Invalid"),
        (version_2(0x22, 0x11, &addresses), "Invalid"),
        (version_2(0x2f, 0x11, &addresses), "Invalid"),
        (version_2(0x11, 0x11, &addresses), "Invalid"),
        (version_2(0x31, 0x11, &addresses), "Invalid"),
        (version_2(0x00, 0x11, &addresses), "Invalid"),
        (tcp_4(&[4; MAX_BODY - 11]), "TooLong"),
        (version_2(0x20, 0x00, &[0; MAX_BODY + 1]), "TooLong"),
        ([START_2, &[0x21, 0x11, 0xff, 0xff][..]].concat(), "TooLong"),
    ] {
        assert_eq!(parsed(&header), Err(error.to_owned()), "{}", header.escape_ascii());
    }
}
