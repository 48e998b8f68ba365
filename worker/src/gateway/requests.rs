//! The requests of one connection, until one of them opens a WebSocket.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use common::config::Prefix;
use common::config::carrier::Carrier;
use common::ipc::SessionId;
use common::ipc::admission::{AdmissionRequest, AskedFor, Refusal};
use common::ipc::log::RoleEvent;
use common::ipc::offence::Offence;
use common::ipc::request::Request as RequestSummary;
use common::ipc::stats::Handshake;
use hyper::body::{Body as _, Incoming};
use hyper::ext::ReasonPhrase;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::spawn_local;

use super::connections::Connection;
use super::http::body::Body;
use super::http::client_facts::client_facts;
use super::http::error_page::{error_page, error_page_because};
use super::http::forwarded::{self, ForwardedError};
use super::http::head::{Bound, Head, Heads, Latest};
use super::http::refusal::{self, RefusedWith};
use super::http::request_summary::{TlsTerms, request_summary};
use super::http::stall::WriteDeadline;
use super::http::token::SeveralTokens;
use super::http::token_cookie;
use super::new_session::NewSession;
use super::state::Gateway;
use super::transport::ClientStream;
use super::web::redirect;
use super::websocket::handshake::{self, tokens};

/// The smallest buffer size that hyper accepts.
const MIN_BUFFER_BYTES: usize = 8 << 10;

/// Response header with the id of the session, for support requests to an administrator.
const SESSION: HeaderName = HeaderName::from_static("websockify-session");

/// The address of a page may contain a token. Requests that the page causes, which proxies may log, don't repeat it.
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

/// Serves requests until the connection ends or becomes a session, which runs in a task of its own.
pub(super) async fn serve(
    gateway: Rc<Gateway>,
    connection: Rc<Connection>,
    stream: ClientStream,
) -> io::Result<()> {
    let common_name_is_wanted = gateway.setup.inquiry.common_name || gateway.setup.tell_requests;
    let common_name = if common_name_is_wanted { stream.peer_common_name() } else { None };
    let tls = match &stream {
        ClientStream::Plain(_) => None,
        ClientStream::Tls(stream) => Some(TlsTerms::of(stream.get_ref().1)),
    };
    let hangup = stream.hangup();
    let stream = Heads::new(WriteDeadline::new(stream), &gateway.setup.limits);
    let (head_bytes, head_fields) = stream.largest();
    let client = Rc::new(Client {
        common_name,
        tls,
        told: connection.vouched(),
        session: Rc::new(NewSession::new(gateway.clone(), connection.clone(), hangup)),
        head: stream.latest(),
        requests: Cell::new(0),
        gateway: gateway.clone(),
        connection: connection.clone(),
    });
    let served_client = client.clone();
    let service = service_fn(move |request| {
        let client = served_client.clone();
        async move { Ok::<_, Infallible>(client.respond(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(gateway.setup.timeouts.request_head)
        .max_buf_size(head_bytes.max(MIN_BUFFER_BYTES))
        .max_headers(head_fields)
        // Some clients and scripts expect `Content-Length`, not `content-length`.
        .title_case_headers(true)
        // A client may shut down its side and still wait for the response.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut served = pin!(served);
    let mut asked_to_stop = false;
    poll_fn(|cx| {
        // A client that has sent no request yet gets a response, which announces that it is the last.
        let retiring = connection.is_retiring() && client.requests.get() > 0;
        if (connection.poll_ending(cx).is_some() || retiring) && !asked_to_stop {
            asked_to_stop = true;
            served.as_mut().graceful_shutdown();
        }
        match served.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(ended.map_err(|error| {
                // A client that has had a response may leave its connection idle.
                if error.is_timeout() && client.requests.get() == 0 {
                    connection.offended(Offence::NoRequest);
                } else if error.is_parse() {
                    connection.offended(Offence::ProtocolViolation);
                }
                io::Error::other(error)
            })),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Who sends the requests of one connection.
struct Client {
    /// Common name of the client's certificate.
    common_name: Option<String>,
    /// Negotiated parameters, if the connection uses TLS.
    tls: Option<TlsTerms>,
    /// The client that the PROXY protocol has told.
    told: Option<SocketAddr>,
    /// The session that a request may open.
    session: Rc<NewSession>,
    /// Head of the request that is being answered.
    head: Latest,
    requests: Cell<u32>,
    gateway: Rc<Gateway>,
    connection: Rc<Connection>,
}

impl Client {
    async fn respond(&self, mut request: Request<Incoming>) -> Response<Body> {
        self.requests.set(self.requests.get() + 1);
        self.connection.vouch_for(self.told);
        let head = self.head.get();
        if head.is_http_1_0 {
            *request.version_mut() = Version::HTTP_10;
        }
        let mut response = if let Some(bound) = head.broken {
            self.connection.offended(Offence::ProtocolViolation);
            self.too_large(head, bound)
        } else if let Err(error) = self.identify(&request) {
            let connection = self.connection.id().0;
            tracing::info!(connection, "a request is refused: {error}");
            closing(error_page(StatusCode::BAD_REQUEST))
        } else if is_ambiguous(&request) || self.gateway.setup.inquiry.site && has_several_origins(&request) {
            self.connection.offended(Offence::ProtocolViolation);
            closing(error_page(StatusCode::BAD_REQUEST))
        } else if let Some(response) = self.leave_prefix(&mut request) {
            response
        } else if handshake::is_asked(&request) {
            self.upgrade(&mut request).await
        } else {
            self.page(&request).await
        };
        if (self.requests.get() >= self.gateway.setup.limits.keep_alive_requests.get()
            || !self.may_upgrade_later())
            && response.status() != StatusCode::SWITCHING_PROTOCOLS
        {
            response = closing(response);
        }
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            if request.version() == Version::HTTP_10 {
                response = in_http_1_0(&request, response);
            }
            tracing::debug!(
                connection = self.connection.id().0,
                vouched = self.connection.vouched_text().as_deref(),
                event = RoleEvent::Answered.as_str(),
                "{} {} {:?}\" {}",
                request.method(),
                self.gateway.redaction.path(&request),
                request.version(),
                response.status().as_u16(),
            );
        }
        if response.status().is_client_error() || response.status().is_server_error() {
            self.log_refusal(&response);
        }
        self.gateway.stats.borrow_mut().count_response(response.status().as_u16());
        response.headers_mut().insert(header::SERVER, HeaderValue::from_static("websockify"));
        if self.gateway.redaction.hides_referrers() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::REFERRER_POLICY, NO_REFERRER);
        }
        response
    }

    /// Removes the prefix from the path of a request. Returns the response to a request outside.
    fn leave_prefix(&self, request: &mut Request<Incoming>) -> Option<Response<Body>> {
        let prefix = self.gateway.setup.prefix.as_ref()?;
        let outside = || Some(error_page(StatusCode::NOT_FOUND));
        let Some(path) = prefix.strip(request.uri().path()) else { return outside() };
        if path.is_empty() && !handshake::is_asked(request) {
            // The links of a page are relative to its directory.
            let directory = format!("{prefix}/");
            return redirect(request, StatusCode::MOVED_PERMANENTLY, &directory).or_else(outside);
        }
        let path = if path.is_empty() { "/" } else { path };
        let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
        let mut parts = request.uri().clone().into_parts();
        let Ok(beneath) = format!("{path}{query}").parse() else { return outside() };
        parts.path_and_query = Some(beneath);
        let Ok(uri) = Uri::from_parts(parts) else { return outside() };
        *request.uri_mut() = uri;
        None
    }

    /// Finds out whose request it is, if a trusted proxy has sent it.
    fn identify(&self, request: &Request<Incoming>) -> Result<(), ForwardedError> {
        if self.is_proxy() {
            let proxy = &self.gateway.setup.proxy;
            self.connection.vouch_for(forwarded::client(proxy, self.told, request.headers())?);
        }
        Ok(())
    }

    /// Whether the requests of the connection are sent by a trusted proxy.
    fn is_proxy(&self) -> bool {
        let trusted = &self.gateway.setup.proxy.trusted;
        match self.told {
            Some(told) => trusted.contains(told.ip()),
            None => !trusted.is_empty() && self.connection.ticket.claims.client.is_in(trusted),
        }
    }

    /// Logs and answers a head that exceeds a limit.
    fn too_large(&self, head: Head, broken: Bound) -> Response<Body> {
        let limits = &self.gateway.setup.limits;
        let (key, limit) = match broken {
            Bound::Fields => ("request-fields", limits.request_fields),
            Bound::Bytes | Bound::RequestLine => ("request-head-bytes", limits.request_head_bytes),
        };
        tracing::info!(
            connection = self.connection.id().0,
            vouched = self.connection.vouched_text().as_deref(),
            "the head of a request is too large: {} bytes, {} fields; limits.{key} is {limit}",
            head.bytes,
            head.fields,
        );
        closing(error_page(match broken {
            Bound::RequestLine => StatusCode::URI_TOO_LONG,
            Bound::Bytes | Bound::Fields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }))
    }

    /// Sends a page, if the client may have it.
    async fn page(&self, request: &Request<Incoming>) -> Response<Body> {
        let Gateway { setup, pages, redaction, .. } = &*self.gateway;
        let takes_tokens = setup.inquiry.token.as_ref().is_some_and(|from| from.has(Carrier::Cookie));
        if takes_tokens && pages.are_there() {
            let path = setup.prefix.as_ref().map_or("/", Prefix::as_str);
            if let Some(response) = token_cookie::take_token(request, path, self.is_secured(request)) {
                return response;
            }
        }
        if setup.inquiry.pages {
            let question = match self.ask(request) {
                Ok(question) => question,
                Err(error) => return self.ambiguous(error),
            };
            if let Err(refusal) = self.may_browse(question).await {
                return closing(refusal::page(&refusal));
            }
        }
        pages.respond(request, redaction.path_alone(request))
    }

    async fn may_browse(&self, question: AdmissionRequest) -> Result<(), Refusal> {
        let connector = self.gateway.connector.borrow().clone().ok_or(Refusal::Overloaded)?;
        connector.may_browse(question, self.gateway.setup.admission).await
    }

    /// Logs and answers a request with different tokens.
    fn ambiguous(&self, error: SeveralTokens) -> Response<Body> {
        let vouched = self.connection.vouched_text();
        let connection = self.connection.id().0;
        tracing::info!(connection, vouched = vouched.as_deref(), "a request is refused: {error}");
        self.connection.offended(Offence::ProtocolViolation);
        closing(error_page(StatusCode::BAD_REQUEST))
    }

    /// Whether the client uses TLS, according to its proxy if that is trusted.
    fn is_secured(&self, request: &Request<Incoming>) -> bool {
        let mut asked = AskedFor { secured: self.tls.is_some().then_some(true), ..AskedFor::default() };
        if self.is_proxy() {
            forwarded::correct(&self.gateway.setup.proxy, request.headers(), &mut asked);
        }
        asked.secured == Some(true)
    }

    /// Builds the request to the connector.
    fn ask(&self, request: &Request<Incoming>) -> Result<AdmissionRequest, SeveralTokens> {
        let inquiry = &self.gateway.setup.inquiry;
        let common_name = self.common_name.as_deref().filter(|_| inquiry.common_name);
        let vouched = self.connection.vouched();
        let mut facts = client_facts(inquiry, request, common_name, self.tls.as_ref(), vouched)?;
        if let Some(asked) = facts.asked.as_mut().filter(|_| self.is_proxy()) {
            forwarded::correct(&self.gateway.setup.proxy, request.headers(), asked);
        }
        Ok(AdmissionRequest { ticket: self.connection.ticket.clone(), facts })
    }

    /// Whether a later request on this connection could still open a session. It can't if the ticket will
    /// have expired by then, or if the generation is retired; the client needs another connection then.
    fn may_upgrade_later(&self) -> bool {
        !self.connection.is_retiring()
            && self.connection.ticket.outlasts(self.gateway.setup.timeouts.request_head)
    }

    /// Logs a rejected request in the format of the original.
    fn log_refusal(&self, response: &Response<Body>) {
        let status = response.status();
        let reason = response.extensions().get::<ReasonPhrase>().map(ReasonPhrase::as_bytes);
        let reason = reason.map(String::from_utf8_lossy);
        tracing::info!(
            connection = self.connection.id().0,
            vouched = self.connection.vouched_text().as_deref(),
            event = RoleEvent::Refused.as_str(),
            "{}, message {}",
            status.as_u16(),
            reason.as_deref().or(status.canonical_reason()).unwrap_or_default(),
        );
    }

    /// Opens a WebSocket, if the handshake is valid and the connector provides a target.
    async fn upgrade(&self, request: &mut Request<Incoming>) -> Response<Body> {
        let opening = match handshake::check(request) {
            Ok(opening) => opening,
            Err(refused) => {
                self.gateway.stats.borrow_mut().count_handshake(Handshake::Malformed);
                self.connection.offended(Offence::ProtocolViolation);
                return no_handshake(&refused);
            }
        };
        let connection = self.connection.id().0;
        let vouched = self.connection.vouched_text();
        let vouched = vouched.as_deref();
        let kind = if self.tls.is_some() { RoleEvent::SecureWebSocket } else { RoleEvent::PlainWebSocket };
        tracing::info!(connection, vouched, event = kind.as_str(), "");
        let path = self.gateway.redaction.path(request);
        if path != "/" {
            tracing::info!(connection, vouched, event = RoleEvent::Path.as_str(), "{path}");
        }
        let question = match self.ask(request) {
            Ok(question) => question,
            Err(error) => {
                self.gateway.stats.borrow_mut().count_handshake(Handshake::Malformed);
                return self.ambiguous(error);
            }
        };
        let admitted = self.session.admit(question).await;
        let result = admitted.as_ref().map_or_else(Handshake::from, |_| Handshake::Opened);
        self.gateway.stats.borrow_mut().count_handshake(result);
        let admitted = match admitted {
            Ok(admitted) => {
                if self.gateway.setup.tell_requests {
                    let redaction = &self.gateway.redaction;
                    let told = request_summary(request, &opening, self.tls.as_ref(), redaction);
                    self.connection.session_requested(RequestSummary {
                        client_certificate: self.common_name.as_deref().map(RequestSummary::text),
                        handshake: Some(self.connection.age()),
                        ..told
                    });
                }
                Ok(admitted)
            }
            Err(refusal) => match refusal::answer(&refusal, self.gateway.setup.token_refusal) {
                RefusedWith::Response(response) => return closing(response),
                RefusedWith::Close(reason) => Err(reason),
            },
        };
        spawn_local(self.session.clone().begin(hyper::upgrade::on(request), admitted));
        let mut response = opening.response(Body::empty());
        let session = SessionId { run: self.gateway.setup.run, connection: self.connection.id() };
        // Never fails: the id consists of hexadecimal digits.
        if let Ok(session) = HeaderValue::from_str(&session.to_string()) {
            response.headers_mut().insert(SESSION, session);
        }
        response
    }
}

/// Whether an intermediary may parse the request differently. It has a body, which would be taken for the
/// next request if nobody read it, or several `Host` fields (RFC 9112 section 3.2).
fn is_ambiguous(request: &Request<Incoming>) -> bool {
    !request.body().is_end_stream() || request.headers().get_all(header::HOST).iter().nth(1).is_some()
}

/// Whether it is unclear from which page the request is.
fn has_several_origins(request: &Request<Incoming>) -> bool {
    request.headers().get_all(header::ORIGIN).iter().nth(1).is_some()
}

fn no_handshake(refused: &handshake::Refused) -> Response<Body> {
    let response = match ReasonPhrase::try_from(refused.to_string()) {
        Ok(reason) => error_page_because(refused.status(), reason),
        Err(_) => error_page(refused.status()),
    };
    let mut response = closing(response);
    if let handshake::Refused::Version(_) = refused {
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    response
}

fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Turns a response into one of HTTP/1.0: the connection is closed unless the client has requested
/// keep-alive.
fn in_http_1_0<B>(request: &Request<B>, mut response: Response<Body>) -> Response<Body> {
    *response.version_mut() = Version::HTTP_10;
    let goes_on =
        tokens(request.headers(), &header::CONNECTION).any(|one| one.eq_ignore_ascii_case("keep-alive"));
    if !goes_on {
        return closing(response);
    }
    let keep_alive = HeaderValue::from_static("keep-alive");
    response.headers_mut().entry(header::CONNECTION).or_insert(keep_alive);
    response
}
