//! One HTTP connection: a request and its response.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use common::ipc::exporter::Page;
use common::sys::stream::StreamSocket;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::timeout;

use super::questions::Questions;

/// Time limit for the request.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);

/// Time limit for the whole connection, including the supervisor's answer and the sending of the response.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(20);

/// Maximum length of a request head in bytes.
const MAX_HEAD_BYTES: usize = 8 << 10;

/// Maximum number of header fields.
const MAX_HEADERS: usize = 64;

/// Media type of the OpenMetrics text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Serves one request. An error ends this connection only, and is not logged.
pub(super) async fn serve(socket: OwnedFd, questions: Rc<Questions>) {
    let _ = timeout(CONNECTION_DEADLINE, serve_socket(socket, questions)).await;
}

async fn serve_socket(socket: OwnedFd, questions: Rc<Questions>) -> io::Result<()> {
    let stream = TokioIo::new(StreamSocket::new(socket)?);
    let service = service_fn(|request| {
        let questions = questions.clone();
        async move { Ok::<_, Infallible>(respond(&request, &questions).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_DEADLINE)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        // A client may close its side and still wait for the response.
        .half_close(true)
        .serve_connection(stream, service)
        .await
        .map_err(io::Error::other)
}

async fn respond(request: &Request<Incoming>, questions: &Questions) -> Response<Full<Bytes>> {
    let (page, content_type) = match request.uri().path() {
        "/metrics" => (Page::Metrics, OPEN_METRICS),
        "/health" | "/ready" => (Page::Health, PLAIN),
        "/alive" => (Page::Liveness, PLAIN),
        _ => {
            return said(
                StatusCode::NOT_FOUND,
                "Only /metrics, /health, /ready and /alive are served here.\n",
            );
        }
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = said(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are supported.\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match questions.ask(page).await {
        Some(answer) => {
            let status = if answer.is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            response(status, content_type, answer.text.into())
        }
        None => said(StatusCode::SERVICE_UNAVAILABLE, "The service does not answer.\n"),
    }
}

fn said(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(status, PLAIN, Bytes::from_static(text.as_bytes()))
}

fn response(status: StatusCode, content_type: &'static str, text: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
