//! Answers one request of a gateway: applies the policy, and has the target dialled.

use std::rc::Rc;
use std::time::Duration;

use common::ipc::admission::{AdmissionRequest, ConnectorToGateway, Refusal};
use common::ipc::connector::{ConnectorToSupervisor, Offender};
use common::ipc::log::RoleEvent;
use common::ipc::sources::SourceVerdict;
use common::ipc::uses::{Reservation, UseLimits};
use common::ipc::{ClientAddr, ConnectionId};
use common::ticket::Claims;
use common::tokens::hash::TokenHash;

use super::by_root::ForConnection;
use super::client_request::{ClientRequest, RequestKind};
use super::dialling::{Dialling, refused};
use super::grant::Grant;
use super::policy::Denied;
use super::state::{Connector, Gateway};
use super::target::Target;
use super::token::LookupError;
use super::under_way::Answering;

/// Answers one request, whose ticket has been taken.
pub(super) async fn answer(
    connector: Rc<Connector>,
    gateway: Rc<Gateway>,
    kind: RequestKind,
    request: AdmissionRequest,
    answering: Answering,
) {
    let AdmissionRequest { ticket, facts } = request;
    let claims = &ticket.claims;
    let vouched = facts.vouched.map(ClientAddr::Ip);
    let client = vouched.as_ref().unwrap_or(&claims.client);
    let proxy = vouched.as_ref().map(|_| &claims.client);
    let request = ClientRequest { client, proxy, facts: &facts, kind };
    let answer = match check_source(&connector, claims.connection, &request).await {
        Ok(()) => decide(&connector, &gateway, claims, &request, &answering).await,
        Err(refusal) => refused(claims.connection, refusal),
    };
    // Ends the request for the supervisor, whether or not the gateway reads the answer.
    drop(answering);
    gateway.give(&connector, answer).await;
}

/// Answers a request of a client that is not turned away.
async fn decide(
    connector: &Rc<Connector>,
    gateway: &Gateway,
    claims: &Claims,
    request: &ClientRequest<'_>,
    answering: &Answering,
) -> ConnectorToGateway {
    if connector.policy.may_change() {
        connector.catch_up();
    }
    if request.kind == RequestKind::Session {
        return connect(connector, gateway, claims, request, answering).await;
    }
    if let Err(denied) = connector.policy.may_browse(request).await {
        return deny(connector, request, claims, &denied);
    }
    let id = claims.connection;
    connector.spent.borrow_mut().give_back(claims, connector.setup.limits.keep_alive_requests.get());
    if request.is_counted(&connector.setup) {
        // If the supervisor is gone, so are its counts.
        let _ = connector.supervisor.send(&ConnectorToSupervisor::PageServed(id)).await;
    }
    ConnectorToGateway::Granted(id)
}

/// Asks the supervisor whether the source of a client for which a proxy vouches is over a limit. Other clients were
/// counted when they connected.
async fn check_source(
    connector: &Connector,
    id: ConnectionId,
    request: &ClientRequest<'_>,
) -> Result<(), Refusal> {
    let Some(client) = request.facts.vouched.filter(|_| request.is_counted(&connector.setup)) else {
        return Ok(());
    };
    let page = request.kind == RequestKind::Page;
    match connector.sources.ask(id, &ConnectorToSupervisor::CheckSource { id, client, page }).await {
        Some(SourceVerdict::Served) => Ok(()),
        Some(SourceVerdict::TurnedAway { retry_after }) => Err(Refusal::TurnedAway { retry_after }),
        Some(SourceVerdict::Over) => Err(Refusal::Stale),
        None => Err(Refusal::Overloaded),
    }
}

/// Determines the targets of a request, reserves a use of the token if it is counted, and dials.
async fn connect(
    connector: &Rc<Connector>,
    gateway: &Gateway,
    claims: &Claims,
    request: &ClientRequest<'_>,
    answering: &Answering,
) -> ConnectorToGateway {
    let id = claims.connection;
    let by_root = connector.by_root(id);
    let admitted = tokio::select! {
        biased;
        () = answering.given_up() => return refused(id, Refusal::Stale),
        admitted = admit(connector, request, by_root) => admitted,
    };
    let (targets, mut grant) = match admitted {
        Ok(admitted) => admitted,
        Err(denied) => return deny(connector, request, claims, &denied),
    };
    let identity = grant.identity.as_deref().or(request.facts.token.as_ref().map(|token| token.reveal()));
    let token = identity.map(|token| TokenHash::of(token).fingerprint(&connector.setup.token_key));
    let for_all = || (token.is_some() && connector.reserves_all.get()).then_some(UseLimits::NONE);
    let limits = grant.limits.or_else(for_all);
    let reserved = match limits {
        Some(limits) => reserve(connector, id, token.as_deref().unwrap_or_default(), limits).await,
        None => Ok(None),
    };
    let answer = match reserved {
        Ok(lifetime) => {
            grant.limit(lifetime);
            let (targets, grant) = (&targets, &grant);
            Dialling { connector, gateway, claims, request, answering, targets, grant, token }.run().await
        }
        Err(error) => deny(connector, request, claims, &error.into()),
    };
    let holds = limits.is_some() || connector.setup.per_target.sessions.is_some();
    if holds && !matches!(answer, ConnectorToGateway::Connected { .. }) {
        // If the supervisor is gone, so are its counts.
        let _ = connector.supervisor.send(&ConnectorToSupervisor::Release(id)).await;
    }
    answer
}

/// Reserves a use of the token with this hash. Returns the maximum duration of the session.
async fn reserve(
    connector: &Connector,
    id: ConnectionId,
    token: &str,
    limits: UseLimits,
) -> Result<Option<Duration>, LookupError> {
    let refused = |why: &str| Err(LookupError::Refused(why.into()));
    let failed = |why: &str| Err(LookupError::Failed(why.into()));
    let question = ConnectorToSupervisor::Reserve { id, token: token.to_owned(), limits };
    match connector.reservations.ask(id, &question).await {
        Some(Reservation::Granted { lifetime }) => Ok(lifetime),
        Some(Reservation::UsedUp) => refused("it has been used as often as it may be"),
        Some(Reservation::InUse) => refused("it has as many sessions as it may have at a time"),
        Some(Reservation::Revoked) => refused("it was revoked"),
        Some(Reservation::Overloaded) => failed("too many tokens are counted"),
        Some(Reservation::Over) => failed("the client has gone"),
        None => failed("its uses can't be counted"),
    }
}

/// Applies the policy. Returns the targets and the terms of the session.
async fn admit(
    connector: &Rc<Connector>,
    request: &ClientRequest<'_>,
    by_root: Option<ForConnection<'_>>,
) -> Result<(Vec<Target>, Grant), Denied> {
    let mut grant = connector.policy.authenticate(request).await?;
    let targets = connector.policy.targets(request, &mut grant, by_root).await?;
    Ok((targets, grant))
}

/// Logs why a client is refused. Its ticket stays spent, so that a gateway can't try many passwords with it:
/// a client that may retry does so on another connection.
fn deny(
    connector: &Connector,
    request: &ClientRequest<'_>,
    claims: &Claims,
    denied: &Denied,
) -> ConnectorToGateway {
    if let Some(offence) = denied.offence(request) {
        connector.report_offender(Offender { id: claims.connection, offence });
    }
    let event = denied.event().map(RoleEvent::as_str);
    let vouched = request.facts.vouched.map(|client| client.to_string());
    tracing::info!(connection = claims.connection.0, vouched = vouched.as_deref(), event, "{denied}");
    refused(claims.connection, denied.refusal())
}
