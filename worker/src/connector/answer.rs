//! One request of a gateway, from the client's proof to its target.

use std::rc::Rc;
use std::time::Duration;

use common::ipc::admission::{AdmissionRequest, ConnectorToGateway, Refusal, Shown};
use common::ipc::channel::Channel;
use common::ipc::connector::Dialled;
use common::ipc::{ConnectionId, GatewayId};
use common::ticket::Claims;
use tokio::time::timeout;

use super::policy::Denied;
use super::{Connector, bounded, dial};

/// How long a gateway may leave its answers unread before it counts as hung.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// What a gateway asks for on behalf of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// A target.
    Target,
    /// A page.
    Page,
}

/// Answers one request, whose ticket was taken.
pub(super) async fn answer(
    connector: Rc<Connector>,
    channel: Rc<Channel>,
    gateway: GatewayId,
    wish: Wish,
    request: AdmissionRequest,
) {
    let AdmissionRequest { ticket, shown } = request;
    let claims = &ticket.claims;
    let answer = match connector.policy.authenticate(&shown).await {
        Err(denied) => Ok(deny(claims, &denied)),
        Ok(()) if wish == Wish::Page => {
            connector.used.borrow_mut().give_back(claims, connector.setup.keep_alive_requests);
            Ok(ConnectorToGateway::Granted(claims.connection))
        }
        Ok(()) => connect(&connector, claims, &shown).await,
    };
    let Ok(answer) = answer else { return };
    give(&connector, &channel, gateway, answer).await;
}

/// Gives a gateway its answer, which it must read in time.
pub(super) async fn give(
    connector: &Connector,
    channel: &Channel,
    gateway: GatewayId,
    answer: ConnectorToGateway,
) {
    // A gateway that is gone needs no answer.
    if timeout(ANSWER_DEADLINE, channel.send(&answer)).await.is_err() {
        connector.accuse(gateway, "it does not read its answers".into());
    }
}

/// Finds the target of a client and dials it.
async fn connect(
    connector: &Rc<Connector>,
    claims: &Claims,
    shown: &Shown,
) -> Result<ConnectorToGateway, tokio::sync::AcquireError> {
    let id = claims.connection;
    if connector.policy.reads_files() {
        connector.catch_up();
    }
    let target = match connector.policy.target(&claims.client, shown).await {
        Ok(target) => target,
        Err(denied) => return Ok(deny(claims, &denied)),
    };
    let dialled = {
        // The semaphore is never closed. The turn ends before the gateway gets its answer: one that does
        // not read must not keep others waiting.
        let _turn = connector.dialling.acquire().await?;
        dial::dial(&target, &connector.setup).await
    };
    connector.tell_dialled(Dialled {
        id,
        client: bounded(claims.client.to_string()),
        target: bounded(target.to_string()),
        secured: connector.setup.target_tls,
        failure: dialled.as_ref().err().map(|error| bounded(error.to_string())),
    });
    Ok(match dialled {
        Ok(socket) => {
            let host = target.host().map(str::to_owned);
            ConnectorToGateway::Connected { id, target: socket, host }
        }
        Err(error) => refused(id, error.refusal()),
    })
}

/// Logs why a client gets nothing. Its ticket stays used: one that may try again comes with another
/// connection, so that a gateway can't try passwords without end.
fn deny(claims: &Claims, denied: &Denied) -> ConnectorToGateway {
    tracing::info!(target: "websockify::connector", "{}: {denied}", claims.client);
    refused(claims.connection, denied.refusal())
}

pub(super) fn refused(id: ConnectionId, refusal: Refusal) -> ConnectorToGateway {
    ConnectorToGateway::Refused { id, refusal }
}
