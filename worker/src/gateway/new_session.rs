//! The beginning of a session: its target is requested, the stream is taken over from HTTP, and the pump begins.
//!
//! With `wait` the WebSocket may open before the target is there. The session begins without it then, and gets it, or a
//! Close frame, from a task that waits for the connector's second answer.

use std::rc::Rc;
use std::time::Duration;

use common::ipc::admission::{AdmissionRequest, Refusal, SessionTerms};
use common::sys::stream::{Hangup, StreamSocket};
use hyper::upgrade::{OnUpgrade, Parts, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::admission::{self, Admitted, PendingTarget};
use super::connections::Connection;
use super::http::head::Heads;
use super::http::stall::WriteDeadline;
use super::pump::{Arrival, Observer, Session};
use super::state::Gateway;
use super::transport::{ClientStream, Transport};
use super::websocket::close::ControlPayload;

/// Interval at which a connection that waits for its target is checked for a hang-up. Nothing notices one, as nothing is
/// read meanwhile.
const HANGUP_INTERVAL: Duration = Duration::from_millis(500);

/// The session that a connection may become.
pub(super) struct NewSession {
    gateway: Rc<Gateway>,
    connection: Rc<Connection>,
    hangup: Hangup,
}

/// A target, and the terms of the session that are not those of the instance.
type Target = (Transport, SessionTerms);

/// The target that a client is granted.
pub(super) enum Granted {
    /// The target.
    Now(Target),
    /// The target is not there yet.
    Later(PendingTarget),
}

impl NewSession {
    pub(super) fn new(gateway: Rc<Gateway>, connection: Rc<Connection>, hangup: Hangup) -> Self {
        Self { gateway, connection, hangup }
    }

    /// Requests a target.
    ///
    /// # Errors
    ///
    /// The reason why the client gets none.
    pub(super) async fn admit(&self, request: AdmissionRequest) -> Result<Granted, Refusal> {
        let gateway = &self.gateway;
        let connector = gateway.connector.borrow().clone().ok_or(Refusal::Overloaded)?;
        let admitted = tokio::select! {
            admitted = connector.admit(request, gateway.setup.admission) => admitted?,
            // The connector gives up the dial when the end of the connection is reported.
            () = self.gone() => return Err(Refusal::Unreachable),
        };
        match admitted {
            admission::Target::Now(admitted) => self.secure(admitted).await.map(Granted::Now),
            admission::Target::Later(pending) => Ok(Granted::Later(pending)),
        }
    }

    /// Takes the stream over from HTTP and runs the session. `granted` is its target, or the reason to close it at once.
    pub(super) async fn begin(self: Rc<Self>, upgrade: OnUpgrade, granted: Result<Granted, ControlPayload>) {
        let observer = match &granted {
            Ok(Granted::Now((_, terms))) => self.observer(terms.record).await,
            _ => None,
        };
        // A client that has gone before the response was written gets no session.
        let Ok(upgraded) = upgrade.await else { return };
        if let Some(session) = self.session(upgraded, granted) {
            // In a task of its own, which holds nothing but the session.
            spawn_local(session.observed_by(observer).run(self.connection.clone()));
        }
    }

    /// Creates the session of an upgraded connection. Bytes that hyper has read ahead are copied out of its much
    /// larger buffer, which would otherwise live as long as the session.
    fn session(
        self: &Rc<Self>,
        upgraded: Upgraded,
        granted: Result<Granted, ControlPayload>,
    ) -> Option<Box<Session>> {
        let Parts { io, read_buf, .. } =
            upgraded.downcast::<TokioIo<Heads<WriteDeadline<ClientStream>>>>().ok()?;
        let (stream, rest) = io.into_inner().into_parts();
        let client = Transport::from(stream.into_inner());
        let terms = self.gateway.session_terms.clone();
        let early = || [&read_buf, &*rest].concat();
        Some(match granted {
            Ok(Granted::Now((target, own))) => {
                Session::with_target(client, target, early(), terms.with_idle(own.idle))
                    .for_at_most(own.lifetime)
            }
            Ok(Granted::Later(pending)) => {
                let (sender, arrival) = oneshot::channel();
                spawn_local(self.clone().await_target(pending, sender));
                Session::awaiting_target(client, arrival, early(), terms)
            }
            Err(reason) => Session::without_target(client, reason, terms),
        })
    }

    /// Gives a session its target when that is there. If the client leaves meanwhile, the session gets nothing.
    async fn await_target(
        self: Rc<Self>,
        pending: PendingTarget,
        mut session: oneshot::Sender<Result<Box<Arrival>, ControlPayload>>,
    ) {
        let setup = &self.gateway.setup;
        let arrived = async {
            let admitted = pending.arrive(setup.wait + setup.admission).await?;
            let (target, SessionTerms { lifetime, idle, record }) = self.secure(admitted).await?;
            let observer = self.observer(record).await;
            Ok(Box::new(Arrival { target, observer, lifetime, idle }))
        };
        let arrived = tokio::select! {
            arrived = arrived => arrived,
            () = session.closed() => return,
            () = self.gone() => return,
        };
        // Fails if the session has just ended.
        let _ = session.send(arrived.map_err(|refusal| match refusal {
            Refusal::Unreachable => ControlPayload::close(CloseCode::Error, "Target did not come in time"),
            _ => ControlPayload::close(CloseCode::Again, "Try again later"),
        }));
    }

    /// Performs the TLS handshake with a target, if it has one.
    async fn secure(&self, admitted: Admitted) -> Result<Target, Refusal> {
        let Admitted { socket, host, terms } = admitted;
        let socket = StreamSocket::new(socket).map_err(|_| Refusal::Overloaded)?;
        let Some(tls) = &self.gateway.target_tls else { return Ok((Transport::Plain(socket), terms)) };
        let deadline = self.gateway.setup.timeouts.tls_handshake;
        let connected = tls.connect(socket, host.as_deref(), deadline).await;
        connected.map(|target| (target, terms)).map_err(|error| {
            let vouched = self.connection.vouched_text();
            let connection = self.connection.id().0;
            tracing::warn!(connection, vouched = vouched.as_deref(), "TLS with the target failed: {error}");
            Refusal::Unreachable
        })
    }

    /// The observer of the session, if one is configured. `record` is what the session's terms say.
    async fn observer(&self, record: Option<bool>) -> Option<Box<Observer>> {
        let gateway = &self.gateway;
        let id = self.connection.id();
        let recording = match gateway.setup.record && record != Some(false) {
            true => gateway.recordings.begin(id, self.connection.vouched(), &gateway.outbox).await,
            false => None,
        };
        Observer::new(id, recording, gateway.setup.traffic.then(|| gateway.log.clone()))
    }

    /// Waits until the client has hung up. A client that has shut down its side can't use a WebSocket any
    /// more, but is served if its target is connected at once.
    async fn gone(&self) {
        loop {
            sleep(HANGUP_INTERVAL).await;
            if self.hangup.has_come() {
                return;
            }
        }
    }
}
