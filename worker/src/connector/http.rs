//! An HTTP client (RFC 9112) for one service. Response bodies are bounded, and connections are kept alive.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::endpoint::{ConnectError, Endpoint};

/// Maximum length of a response body in bytes. Addresses are short.
const MAX_BODY: usize = 64 * 1024;

/// Maximum number of concurrent requests, each on a connection of its own. Further requests wait.
const MAX_ASKING: usize = 64;

/// Maximum number of idle connections.
const MAX_IDLE: usize = 8;

/// A client of one HTTP service, with its idle connections.
pub(super) struct Client {
    endpoint: Endpoint,
    /// Value of the `Host` header (RFC 9110 section 7.2).
    host: HeaderValue,
    idle: RefCell<Vec<SendRequest<Full<Bytes>>>>,
    turns: Semaphore,
    /// Time limit for a request and its response.
    deadline: Duration,
}

/// The response of a service.
#[derive(Debug)]
pub(super) struct ServiceAnswer {
    /// The status.
    pub(super) status: StatusCode,
    /// The header fields.
    pub(super) headers: HeaderMap,
    /// The complete body.
    pub(super) body: Bytes,
}

/// The reason why there is no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// No connection to the service.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// The connection broke, or the response is not HTTP.
    #[error("{0}")]
    Protocol(#[from] hyper::Error),
    /// The body is longer than [`MAX_BODY`].
    #[error("its answer is longer than {MAX_BODY} bytes")]
    TooLong,
    /// The response has a content coding (RFC 9110 section 8.4), although the request accepts none.
    #[error("its answer is compressed ({0}), which was not requested and is not supported")]
    Encoded(String),
    /// The deadline has passed.
    #[error("it did not answer in time")]
    TimedOut,
}

impl Client {
    /// Creates a client of the service at `endpoint`, whose name is `host`.
    pub(super) fn new(endpoint: Endpoint, host: HeaderValue, deadline: Duration) -> Self {
        Self { endpoint, host, idle: RefCell::default(), turns: Semaphore::new(MAX_ASKING), deadline }
    }

    /// The name of the service.
    pub(super) fn host(&self) -> &str {
        self.host.to_str().unwrap_or_default()
    }

    /// Sends a request, which needs no `Host` field. If the service has closed the idle connection meanwhile,
    /// the request is sent again on a new one.
    pub(super) async fn ask(&self, request: Request<Full<Bytes>>) -> Result<ServiceAnswer, HttpError> {
        timeout(self.deadline, self.exchange_with_retry(request)).await.map_err(|_| HttpError::TimedOut)?
    }

    async fn exchange_with_retry(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<ServiceAnswer, HttpError> {
        // Never fails: the semaphore is never closed.
        let _turn = self.turns.acquire().await;
        request.headers_mut().insert(header::HOST, self.host.clone());
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(kept) = self.kept() {
            match self.exchange(kept, request.clone()).await {
                Err(HttpError::Protocol(error)) if is_stale(&error) => {}
                answered => return answered,
            }
        }
        let stream = self.endpoint.connect().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The task ends when its sender is dropped. Errors are reported to the request that is waiting.
        spawn_local(async move { _ = connection.await });
        self.exchange(sender, request).await
    }

    fn kept(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|sender| !sender.is_closed());
        let at = idle.iter().rposition(SendRequest::is_ready)?;
        Some(idle.swap_remove(at))
    }

    async fn exchange(
        &self,
        mut sender: SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
    ) -> Result<ServiceAnswer, HttpError> {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = content(body).await?;
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE && !sender.is_closed() {
            idle.push(sender);
        }
        let (status, headers) = (head.status, head.headers);
        if let Some(coding) = headers.get(header::CONTENT_ENCODING).filter(|coding| *coding != "identity") {
            return Err(HttpError::Encoded(
                String::from_utf8_lossy(coding.as_bytes()).escape_debug().to_string(),
            ));
        }
        Ok(ServiceAnswer { status, headers, body })
    }
}

async fn content(body: Incoming) -> Result<Bytes, HttpError> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(HttpError::TooLong),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(HttpError::Protocol(*error)),
            Err(_) => Err(HttpError::TooLong),
        },
    }
}

/// Whether the connection ended before any of the response was received.
fn is_stale(error: &hyper::Error) -> bool {
    error.is_canceled()
        || error.is_closed()
        || error.is_incomplete_message()
        || std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}
