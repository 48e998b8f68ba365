//! External plugins: programs and services of the administrator that look up tokens or authenticate clients.
//! `docs/reference/plugins.md` describes the protocol.
//!
//! A plugin is trusted with its decision only. Whatever it does affects the clients that wait for its answer,
//! and no others.

pub(super) mod answer;
mod hidden;
mod lines;
pub(super) mod question;
mod reply;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use common::ipc::lookup::PluginLink;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{Request, StatusCode};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

use super::client_request::ClientRequest;
use super::endpoint::{ConnectError, Endpoint};
use super::http::{Client, HttpError};
use super::target::Target;
use answer::{AnswerError, Written};
use lines::{Link, LinkError};
use question::{Question, QuestionKind};

/// Number of consecutive unanswered questions after which a program counts as hung.
const MAX_UNANSWERED: u32 = 3;

/// Media type of questions and answers (RFC 8259).
const JSON: &str = "application/json";

/// An external plugin and the connection to it.
pub(super) struct ExternalPlugin {
    transport: Transport,
    /// Time limit for a question and its answer.
    deadline: Duration,
}

enum Transport {
    /// A program that the supervisor starts. It passes the connection to the connector.
    Program(ProgramLink),
    /// A service that listens on a socket.
    Socket { endpoint: Endpoint, link: Mutex<Option<Rc<Link>>> },
    /// An HTTP service.
    Http { client: Client, path: String },
}

#[derive(Default)]
struct ProgramLink {
    link: RefCell<Option<Rc<Link>>>,
    /// Notified when the supervisor passes a new connection.
    started: Notify,
    unanswered: Cell<u32>,
    /// Notified when the program counts as hung.
    hangs: Notify,
}

/// The reason why a plugin makes no decision.
#[derive(Debug, thiserror::Error)]
pub(super) enum PluginError {
    /// The question about the request would be too long.
    #[error("the request is too long for it")]
    TooLong,
    /// The plugin's socket can't be reached.
    #[error("it can't be reached: {0}")]
    Connect(#[from] ConnectError),
    /// The connection to the plugin has failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The HTTP exchange has failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The HTTP service answers with an unexpected status.
    #[error("it returned status {0}")]
    Status(StatusCode),
    /// The answer is invalid.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The deadline has passed.
    #[error("it did not answer in time")]
    TimedOut,
}

impl ExternalPlugin {
    /// Creates the plugin of a setup. `deadline` limits each question.
    ///
    /// # Errors
    ///
    /// The setting that can't be used, for the administrator.
    pub(super) fn new(link: &PluginLink, prefer_ipv6: bool, deadline: Duration) -> Result<Self, String> {
        let transport = match link {
            PluginLink::Program => Transport::Program(ProgramLink::default()),
            PluginLink::Lines(service) => {
                let endpoint = Endpoint::new(service, prefer_ipv6, deadline)?;
                Transport::Socket { endpoint, link: Mutex::default() }
            }
            PluginLink::Http { service, authority, path } => {
                let endpoint = Endpoint::new(service, prefer_ipv6, deadline)?;
                let host = HeaderValue::from_str(authority);
                let host = host.map_err(|_| "the URL of the plugin has no valid host".to_owned())?;
                let client = Client::new(endpoint, host, deadline);
                Transport::Http { client, path: path.reveal().to_owned() }
            }
        };
        Ok(Self { transport, deadline })
    }

    /// Takes the connection to a program that the supervisor has started.
    ///
    /// # Errors
    ///
    /// Fails if this plugin is not a program, or if the event loop can't register the socket.
    pub(super) fn take_connection(&self, socket: OwnedFd) -> io::Result<()> {
        let Transport::Program(program) = &self.transport else {
            return Err(io::Error::other("a connection to a plugin that is not a program"));
        };
        let stream = UnixStream::from_std(socket.into())?;
        program.unanswered.set(0);
        *program.link.borrow_mut() = Some(Rc::new(Link::new(Box::new(stream))));
        program.started.notify_waiters();
        Ok(())
    }

    /// Waits until the program counts as hung. Never returns for other kinds of plugins.
    pub(super) async fn hangs(&self) {
        match &self.transport {
            Transport::Program(program) => program.hangs.notified().await,
            _ => std::future::pending().await,
        }
    }

    /// Asks the plugin about a request and returns its answer. `user` is the authenticated user, if there is
    /// one, and `target` the target, if it is known.
    ///
    /// # Errors
    ///
    /// The reason why there is no answer.
    pub(super) async fn ask_about(
        &self,
        request: &ClientRequest<'_>,
        ask: QuestionKind,
        user: Option<&str>,
        target: Option<&Target>,
    ) -> Result<Written, PluginError> {
        let question = Question::about(request, ask, user, target).ok_or(PluginError::TooLong)?;
        let answer = timeout(self.deadline, self.exchange(&question)).await.unwrap_or_else(|_| {
            self.transport.note_silence();
            Err(PluginError::TimedOut)
        })?;
        Ok(answer.with_reason(|reason| question.hide_from(reason)))
    }

    async fn exchange(&self, question: &Question<'_>) -> Result<Written, PluginError> {
        match &self.transport {
            Transport::Program(program) => {
                let link = program.link().await;
                let answer = link.ask(|id| question.line(id)).await;
                if link.speaks_nonsense() && program.forget(&link) {
                    program.hangs.notify_one();
                }
                program.unanswered.set(0);
                Ok(answer?)
            }
            Transport::Socket { endpoint, link } => {
                let link = socket_link(endpoint, link).await?;
                Ok(link.ask(|id| question.line(id)).await?)
            }
            Transport::Http { client, path } => {
                let request = Request::post(path)
                    .header(CONTENT_TYPE, JSON)
                    .header(ACCEPT, JSON)
                    .body(Full::new(Bytes::from(question.body())))
                    .map_err(|_| AnswerError::Form)?;
                let answer = client.ask(request).await?;
                if answer.status != StatusCode::OK {
                    return Err(PluginError::Status(answer.status));
                }
                Ok(Written::read(&answer.body)?)
            }
        }
    }
}

impl ProgramLink {
    /// Drops `link` if it is the current connection. Returns whether it was.
    fn forget(&self, link: &Rc<Link>) -> bool {
        let mut kept = self.link.borrow_mut();
        let is_kept = kept.as_ref().is_some_and(|kept| Rc::ptr_eq(kept, link));
        if is_kept {
            *kept = None;
        }
        is_kept
    }

    /// Returns the current connection, or waits for one.
    async fn link(&self) -> Rc<Link> {
        loop {
            let started = self.started.notified();
            if let Some(link) = self.link.borrow().as_ref().filter(|link| !link.is_broken()) {
                return link.clone();
            }
            started.await;
        }
    }
}

impl Transport {
    fn note_silence(&self) {
        match self {
            Self::Program(program) => {
                program.unanswered.set(program.unanswered.get() + 1);
                if program.unanswered.get() >= MAX_UNANSWERED && program.link.take().is_some() {
                    program.hangs.notify_one();
                }
            }
            // The next question uses a new connection.
            Self::Socket { link, .. } => {
                if let Ok(mut link) = link.try_lock() {
                    *link = None;
                }
            }
            Self::Http { .. } => {}
        }
    }
}

async fn socket_link(endpoint: &Endpoint, kept: &Mutex<Option<Rc<Link>>>) -> Result<Rc<Link>, PluginError> {
    let mut kept = kept.lock().await;
    if let Some(link) = kept.as_ref().filter(|link| !link.is_broken()) {
        return Ok(link.clone());
    }
    let link = Rc::new(Link::new(endpoint.connect().await?));
    *kept = Some(link.clone());
    Ok(link)
}
