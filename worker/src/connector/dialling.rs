//! Dials the targets of a request, and if `wait` is configured, until one of them is there.

use std::rc::Rc;
use std::time::{Duration, Instant};

use common::ipc::ConnectionId;
use common::ipc::admission::{ConnectorToGateway, Refusal, SessionTerms};
use common::ipc::connector::{ConnectorToSupervisor, Dialled};
use common::ticket::Claims;
use tokio::pin;
use tokio::time::{sleep, timeout, timeout_at};

use super::client_request::ClientRequest;
use super::dial::DialError;
use super::grant::Grant;
use super::proxy_header::{self, Subject};
use super::state::{Connector, Gateway, bounded};
use super::target::Target;
use super::under_way::Answering;

/// Time for the first attempt before the client learns that it waits, if it may. A target that is there is connected by
/// then.
const HEAD_START: Duration = Duration::from_secs(1);

/// An admitted request and its targets.
pub(super) struct Dialling<'a> {
    pub(super) connector: &'a Rc<Connector>,
    pub(super) gateway: &'a Gateway,
    pub(super) claims: &'a Claims,
    pub(super) request: &'a ClientRequest<'a>,
    pub(super) answering: &'a Answering,
    /// The targets, in the order in which they are dialled.
    pub(super) targets: &'a [Target],
    pub(super) grant: &'a Grant,
    /// Keyed hash of the token.
    pub(super) token: Option<String>,
}

/// Whether an attempt that fails is reported, and so logged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failures {
    Reported,
    /// The client waits, and its first failure was reported.
    Silent,
}

pub(super) fn refused(id: ConnectionId, refusal: Refusal) -> ConnectorToGateway {
    ConnectorToGateway::Refused { id, refusal }
}

impl Dialling<'_> {
    /// Dials until a target is connected or the time is up, and returns the last answer to the gateway.
    pub(super) async fn run(&self) -> ConnectorToGateway {
        let connected = match self.connector.setup.wait {
            // In an allocation of its own, which other requests do not need.
            Some(wait) => Box::pin(self.wait(wait)).await,
            None => self.attempt(Instant::now(), Failures::Reported).await,
        };
        connected.unwrap_or_else(|error| refused(self.claims.connection, error.refusal()))
    }

    /// Dials, and tells the gateway that its client waits if that takes long or fails. Then dials again until a target is
    /// there, for `wait` at most.
    async fn wait(&self, wait: Duration) -> Result<ConnectorToGateway, DialError> {
        let began = Instant::now();
        let waits = || self.gateway.give(self.connector, ConnectorToGateway::Waiting(self.claims.connection));
        let first = self.attempt(began, Failures::Reported);
        pin!(first);
        let (first, is_told) = match timeout(HEAD_START, &mut first).await {
            Ok(first) => (first, false),
            Err(_) => {
                waits().await;
                (first.await, true)
            }
        };
        match first {
            Err(error) if error.may_pass() => {}
            other => return other,
        }
        if !is_told {
            waits().await;
        }
        let targets: Vec<_> = self.targets.iter().map(ToString::to_string).collect();
        let room = self.connector.rooms.enter(targets.join(" "));
        let connected = room.wait_for(async || match self.attempt(began, Failures::Silent).await {
            Err(error) if error.may_pass() => None,
            other => Some(other),
        });
        let left = wait.saturating_sub(began.elapsed());
        tokio::select! {
            biased;
            () = self.answering.given_up() => Err(DialError::GivenUp),
            connected = connected => connected,
            () = sleep(left) => {
                if let Some(target) = self.targets.last() {
                    self.report(target, Err(&DialError::TimedOut), began);
                }
                Err(DialError::TimedOut)
            }
        }
    }

    /// Dials the targets in turn until one is connected. `since` is when the client began to wait.
    async fn attempt(&self, since: Instant, failures: Failures) -> Result<ConnectorToGateway, DialError> {
        let Self { connector, claims, request, grant, .. } = self;
        let id = claims.connection;
        let by_root = connector.by_root(id);
        let began = Instant::now();
        let patience = self.targets.iter().map(|target| connector.policy.patience(target)).max();
        let last = began + patience.unwrap_or_default() + connector.setup.timeouts.connect;
        let mut failure = DialError::TimedOut;
        let mut left = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
        let subject = Subject {
            client: request.client,
            listener: claims.listener,
            tls: request.facts.tls.as_deref(),
            common_name: request.facts.common_name.as_deref(),
        };
        let header = subject.header(grant.proxy_protocol.unwrap_or(connector.setup.proxy_protocol));
        for target in self.targets {
            // Each target that is left has its share of the time that is left.
            let deadline = Instant::now() + last.saturating_duration_since(Instant::now()) / left;
            left -= 1;
            let dialled = tokio::select! {
                biased;
                () = self.answering.given_up() => Err(DialError::GivenUp),
                dialled = async {
                    self.claim(target).await?;
                    let turn = connector.turns.take(target.to_string(), request.client);
                    let turn = timeout_at(deadline.into(), turn).await.map_err(|_| DialError::NoTurn)?;
                    // The turn ends before the answer is sent: a gateway that does not read must not delay other
                    // clients.
                    let turn = Rc::new(turn);
                    let deadline = deadline.into();
                    let socket = connector.policy.dial(target, &connector.setup, deadline, turn, by_root).await?;
                    match &header {
                        Some(header) => proxy_header::write(socket, header, deadline).await,
                        None => Ok(socket),
                    }
                } => dialled,
            };
            if dialled.is_ok() {
                connector.spent.borrow_mut().spend(id);
            }
            if dialled.is_ok() || failures == Failures::Reported {
                self.report(target, dialled.as_ref().map(drop), began);
            }
            match dialled {
                Ok(socket) => {
                    connector.remember(id, self.token.as_deref(), request, target, grant);
                    let host = target.host().map(str::to_owned);
                    let terms = SessionTerms { lifetime: self.lifetime(since), ..grant.terms };
                    return Ok(ConnectorToGateway::Connected { id, target: socket, host, terms });
                }
                Err(error) => failure = error,
            }
            if matches!(failure, DialError::GivenUp) {
                break;
            }
        }
        Err(failure)
    }

    /// Claims a target for the connection, if sessions of targets are limited.
    async fn claim(&self, target: &Target) -> Result<(), DialError> {
        let (connector, id) = (self.connector, self.claims.connection);
        if connector.setup.per_target.sessions.is_none() {
            return Ok(());
        }
        let (full, shown) = (target.to_string(), target.shown());
        let target = match full == shown {
            true => bounded(shown),
            false => connector.setup.token_key.fingerprint(full.as_bytes()),
        };
        match connector.targets.ask(id, &ConnectorToSupervisor::ClaimTarget { id, target }).await {
            Some(true) => Ok(()),
            Some(false) => Err(DialError::Full),
            None => Err(DialError::TimedOut),
        }
    }

    /// Maximum duration of the session, towards which the time of waiting counts.
    fn lifetime(&self, since: Instant) -> Option<Duration> {
        let waited = self.connector.setup.wait.map_or(Duration::ZERO, |_| since.elapsed());
        self.grant.terms.lifetime.map(|lifetime| lifetime.saturating_sub(waited))
    }

    /// Reports the result of dialling a target since `began`.
    fn report(&self, target: &Target, dialled: Result<(), &DialError>, began: Instant) {
        self.connector.report_dialled(Dialled {
            id: self.claims.connection,
            vouched: self.request.facts.vouched,
            target: bounded(target.shown()),
            secured: self.connector.setup.target_tls,
            failure: dialled.err().map(|error| bounded(error.to_string())),
            connect: dialled.is_ok().then(|| began.elapsed()),
            lifetime: self.grant.terms.lifetime,
            user: self.grant.user.clone().map(bounded),
            token: self.token.clone(),
            expires: self.grant.expires,
        });
    }
}
