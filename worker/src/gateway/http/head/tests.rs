use std::convert::Infallible;
use std::num::NonZeroU32;

use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

fn limits(bytes: u32, fields: u32) -> Limits {
    let number = |number| NonZeroU32::new(number).unwrap();
    Limits { request_head_bytes: number(bytes), request_fields: number(fields), ..Limits::default() }
}

/// Reads `sent` in reads of `size` bytes until a head is complete. Returns the text that hyper sees, the
/// facts, and the rest.
async fn read_of(sent: &[u8], size: usize, limits: &Limits) -> (String, Head, Vec<u8>) {
    let (mut client, server) = duplex(4 << 20);
    client.write_all(sent).await.unwrap();
    client.shutdown().await.unwrap();
    let mut heads = Heads::new(server, limits);
    let latest = heads.latest();
    let (mut read, mut piece) = (Vec::new(), vec![0; size]);
    while !read.ends_with(b"\r\n\r\n") && !read.ends_with(b"\n\n") {
        match heads.read(&mut piece).await.unwrap() {
            0 => break,
            count => read.extend(&piece[..count]),
        }
    }
    let (mut stream, mut rest) = heads.into_parts();
    stream.read_to_end(&mut rest).await.unwrap();
    (String::from_utf8(read).unwrap(), latest.get(), rest)
}

async fn every_size(sent: &[u8], limits: &Limits) -> (String, Head, Vec<u8>) {
    let whole = read_of(sent, 8192, limits).await;
    for size in [1, 2, 3, 7, 64, 100_000] {
        assert_eq!(read_of(sent, size, limits).await, whole, "{size}");
    }
    whole
}

#[tokio::test]
async fn a_head_within_its_limits_passes_unchanged_and_alone() {
    for head in ["GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\n\r\n", "\r\nGET /0 HTTP/1.1\nA:\nB: HTTP/1.0\n\n"] {
        let bound = limits(u32::try_from(head.len()).unwrap(), 2);
        let sent = format!("{head}GET /frames HTTP/1.0\r\n\r\n");
        let (read, seen, rest) = every_size(sent.as_bytes(), &bound).await;
        assert_eq!(read, head);
        assert_eq!(seen, Head { bytes: head.len(), fields: 2, is_http_1_0: false, broken: None });
        assert_eq!(rest, b"GET /frames HTTP/1.0\r\n\r\n", "what stands behind a head is not looked at");
    }
}

#[tokio::test]
async fn consecutive_heads_are_read_one_by_one() {
    let (mut client, server) = duplex(1024);
    client.write_all(b"GET /a HTTP/1.0\r\n\r\nGET /b HTTP/1.1\r\n\r\n").await.unwrap();
    let mut heads = Heads::new(server, &Limits::default());
    let latest = heads.latest();
    let mut piece = [0; 1024];
    for (head, is_http_1_0) in [("GET /a HTTP/1.1\r\n\r\n", true), ("GET /b HTTP/1.1\r\n\r\n", false)] {
        let count = heads.read(&mut piece).await.unwrap();
        assert_eq!((&piece[..count], latest.get().is_http_1_0), (head.as_bytes(), is_http_1_0));
    }
}

#[tokio::test]
async fn only_the_version_of_a_request_line_is_changed() {
    let head = "GET /HTTP/1.0 HTTP/1.0\r\nA: HTTP/1.0\r\n\r\n";
    let (read, seen, _) = every_size(head.as_bytes(), &limits(1000, 10)).await;
    assert_eq!(read, "GET /HTTP/1.0 HTTP/1.1\r\nA: HTTP/1.0\r\n\r\n");
    assert!(seen.is_http_1_0);
}

#[tokio::test]
async fn a_head_that_exceeds_a_limit_is_cut_and_completed() {
    let line = "GET / HTTP/1.1\r\n";
    let long = format!("{line}A: {}\r\n\r\n", "x".repeat(10_000));
    let many = format!("{line}{}\r\n", "A: 1\r\n".repeat(101));
    for (sent, broken, fields) in [(&long, Bound::Bytes, 1), (&many, Bound::Fields, 101)] {
        let (read, seen, rest) = every_size(sent.as_bytes(), &limits(1000, 100)).await;
        assert!(read.len() <= 1000 + MAX_END && read.ends_with("\r\n\r\n"), "{read}");
        assert_eq!((seen.bytes, seen.fields, seen.broken), (sent.len(), fields, Some(broken)));
        assert!(rest.is_empty(), "a head is read to its end");
    }
}

/// The status with which hyper answers `sent`. Requests that reach the service get 418.
async fn answer_to(sent: &[u8], limits: &Limits) -> u16 {
    let (mut client, server) = duplex(4 << 20);
    client.write_all(sent).await.unwrap();
    let heads = Heads::new(server, limits);
    let (bytes, fields) = heads.largest();
    let service = service_fn(|_| async {
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        Ok::<_, Infallible>(response)
    });
    let mut http = http1::Builder::new();
    http.max_buf_size(bytes.max(8192)).max_headers(fields);
    let _ = http.serve_connection(TokioIo::new(heads), service).await;
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer["HTTP/1.1 ".len()..][..3].parse().unwrap()
}

#[tokio::test]
async fn hyper_accepts_a_head_wherever_it_is_cut() {
    let head = "GET /path?query HTTP/1.1\r\nHost: x\r\nUser-Agent: y z\r\nA:b\r\nCookie: a=b; c=d\r\n\r\n";
    let line = head.find('\n').unwrap();
    for bytes in 4..head.len() {
        let bound = limits(u32::try_from(bytes).unwrap(), 100);
        let (_, seen, _) = every_size(head.as_bytes(), &bound).await;
        assert_eq!(seen.bytes, head.len());
        assert_eq!(seen.broken, Some(if bytes <= line { Bound::RequestLine } else { Bound::Bytes }));
        // hyper rejects a version that is cut.
        let in_version = head.find("HTTP").unwrap()..line - 1;
        let status = if in_version.contains(&bytes) { 400 } else { 418 };
        assert_eq!(answer_to(head.as_bytes(), &bound).await, status, "{}", &head[..bytes]);
    }
}

#[tokio::test]
async fn hyper_never_rejects_a_head_as_too_large() {
    let line = "GET / HTTP/1.1\r\n";
    for fields in [1, 99, 100, 101, 5000] {
        for length in [1, 40, 4000, 70_000] {
            let field = format!("A: {}\r\n", "x".repeat(length / fields + 1));
            let head = format!("{line}{}\r\n", field.repeat(fields));
            assert_eq!(answer_to(head.as_bytes(), &limits(65536, 100)).await, 418, "{fields} {length}");
            assert_eq!(answer_to(head.as_bytes(), &limits(100, 10)).await, 418, "{fields} {length}");
        }
    }
}

#[tokio::test]
async fn an_endless_head_is_read_up_to_a_limit() {
    let sent = "x".repeat(MAX_DISCARDED * 2);
    let (_, seen, rest) = read_of(sent.as_bytes(), 8192, &limits(1000, 10)).await;
    assert!((MAX_DISCARDED..MAX_DISCARDED + PIECE).contains(&seen.bytes));
    assert_eq!(rest.len(), sent.len() - seen.bytes);
}
