//! The web directory behind a real HTTP/1.1 server on loopback, with a minimal client.

#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use worker::beneath::Beneath;
use worker::gateway::web::WebRoot;

const MIB: usize = 1 << 20;

/// Serves a directory from a thread until the test process ends.
fn serve(directory: &Path) -> SocketAddr {
    let root = Arc::new(WebRoot::new(Beneath::new(File::open(directory).unwrap().into()), true, "").unwrap());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let root = root.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| {
                        let response = root.respond(&request, "/…");
                        async { Ok::<_, Infallible>(response) }
                    });
                    let _ = http1::Builder::new()
                        .max_buf_size(16 * 1024)
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
    });
    address
}

/// A connection to the server, kept open over many requests.
struct Client(BufReader<TcpStream>);

impl Client {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends a request. Returns status and headers of the response.
    fn ask(&mut self, request_line: &str, headers: &str) -> (u16, HashMap<String, String>) {
        write!(self.0.get_mut(), "{request_line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines[1..].iter().map(|line| line.split_once(": ").unwrap());
        (status, headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect())
    }

    fn body(&mut self, headers: &HashMap<String, String>) -> Vec<u8> {
        let mut body = vec![0; headers["content-length"].parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        body
    }
}

/// Bytes that reveal a missing or duplicate chunk.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).to_le_bytes()[0]).collect()
}

#[test]
fn many_requests_share_a_connection() {
    let dir = tempfile::tempdir().unwrap();
    let content = pattern(20 * MIB + 123);
    fs::write(dir.path().join("big.bin"), &content).unwrap();
    fs::write(dir.path().join("empty"), "").unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    let mut client = Client::new(serve(dir.path()));

    for _ in 0..2 {
        let (status, headers) = client.ask("GET /big.bin", "");
        assert_eq!(status, 200);
        assert!(client.body(&headers) == content);

        let (status, head) = client.ask("HEAD /big.bin", "");
        assert_eq!((status, &head["content-length"]), (200, &content.len().to_string()));

        let (status, headers) = client.ask("GET /big.bin", "Range: bytes=1000000-9000000\r\n");
        assert_eq!(status, 206);
        assert!(client.body(&headers) == content[1_000_000..=9_000_000]);

        let (status, headers) =
            client.ask("GET /big.bin", &format!("If-None-Match: {}\r\n", headers["etag"]));
        assert_eq!((status, headers.get("content-length")), (304, None));

        for (request, expected) in [
            ("GET /big.bin?a=b", 200),
            ("GET /empty", 200),
            ("GET /", 200),
            ("GET /sub", 301),
            ("GET /missing", 404),
            ("GET /../big.bin", 404),
            ("GET //localhost/..%2f", 404),
            ("GET /%", 400),
            ("DELETE /big.bin", 405),
        ] {
            let (status, headers) = client.ask(request, "");
            assert_eq!(status, expected, "{request}");
            client.body(&headers);
        }
        for request in ["HEAD /empty", "HEAD /", "HEAD /sub", "HEAD /missing", "HEAD /%"] {
            client.ask(request, "");
        }
    }
}

#[test]
fn a_file_that_shrinks_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let length = 200 * MIB as u64;
    let file = File::create(dir.path().join("log")).unwrap();
    file.set_len(length).unwrap();
    let mut client = Client::new(serve(dir.path()));

    let (status, headers) = client.ask("GET /log", "");
    assert_eq!((status, &headers["content-length"]), (200, &length.to_string()));
    client.0.read_exact(&mut [0; 1000]).unwrap();
    file.set_len(2000).unwrap();
    let rest = std::io::copy(&mut client.0, &mut std::io::sink());
    assert!(rest.is_err() || rest.is_ok_and(|rest| rest < length - 1000));
}

#[test]
fn a_client_that_does_not_read_delays_no_other() {
    let dir = tempfile::tempdir().unwrap();
    File::create(dir.path().join("big")).unwrap().set_len(1 << 30).unwrap();
    fs::write(dir.path().join("small"), "small").unwrap();
    let address = serve(dir.path());
    let mut idle: Vec<Client> = (0..20).map(|_| Client::new(address)).collect();
    for client in &mut idle {
        assert_eq!(client.ask("GET /big", "").0, 200);
    }
    let mut client = Client::new(address);
    let (status, headers) = client.ask("GET /small", "");
    assert_eq!((status, client.body(&headers)), (200, b"small".to_vec()));
}
