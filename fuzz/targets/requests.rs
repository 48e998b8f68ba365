//! Bytes of a client before any WebSocket: hyper parses requests, and each gets the response of a gateway,
//! either to an opening handshake or with a page.
#![no_main]

use std::convert::Infallible;
use std::fs;
use std::os::fd::OwnedFd;
use std::sync::LazyLock;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;
use worker::beneath::Beneath;
use worker::gateway::http::body::Body;
use worker::gateway::web::WebRoot;
use worker::gateway::websocket::handshake;

struct World {
    event_loop: Runtime,
    web: WebRoot,
    _directory: tempfile::TempDir,
}

// No synchronisation is needed: libFuzzer runs one thread.
thread_local! {
    static WORLD: LazyLock<World> = const { LazyLock::new(world) };
}

fn world() -> World {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("web");
    fs::create_dir_all(root.join("sub/empty")).expect("a directory");
    fs::write(root.join("index.html"), "inside").expect("a file");
    fs::write(root.join("sub/file.txt"), "inside").expect("a file");
    fs::write(directory.path().join("outside"), "SECRET").expect("a file");
    std::os::unix::fs::symlink("../outside", root.join("link")).expect("a link");
    let open: OwnedFd = fs::File::open(&root).expect("the directory").into();
    World {
        event_loop: tokio::runtime::Builder::new_current_thread().build().expect("an event loop"),
        web: WebRoot::new(Beneath::new(open), true, "").expect("a web directory"),
        _directory: directory,
    }
}

fuzz_target!(|input: &[u8]| {
    WORLD.with(|world| world.event_loop.block_on(serve(&world.web, input)));
});

async fn serve(web: &WebRoot, input: &[u8]) {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    client.write_all(input).await.expect("room");
    client.shutdown().await.expect("an open end");
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(web, &request).await) });
    // Limits like those of a gateway.
    let _ = http1::Builder::new()
        .max_buf_size(16 << 10)
        .max_headers(64)
        .half_close(true)
        .serve_connection(TokioIo::new(server), service)
        .await;
}

async fn answer(web: &WebRoot, request: &Request<Incoming>) -> Response<Body> {
    if handshake::is_asked(request) {
        return match handshake::check(request) {
            Ok(opening) => {
                let response = opening.response(Body::empty());
                assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
                assert!(response.headers().contains_key("sec-websocket-accept"));
                // The connection is not upgraded here.
                Response::new(Body::empty())
            }
            Err(refused) => {
                assert!(refused.status().is_client_error());
                Response::new(Body::empty())
            }
        };
    }
    let response = web.respond(request, "/…");
    assert_ne!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.map(|collected| collected.to_bytes()).unwrap_or_default();
    assert!(!bytes.windows(6).any(|window| window == b"SECRET"), "a file outside the web directory");
    Response::from_parts(parts, Body::empty())
}
