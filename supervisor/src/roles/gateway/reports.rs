//! What a gateway says, and how far it is believed.

use std::rc::Rc;

use common::ipc::ConnectionId;
use common::ipc::gateway::{GatewayToSupervisor, Report, SessionSummary, SupervisorToGateway};
use common::ipc::request::Requested;
use tokio::task::spawn_local;

use super::{Gateway, lighten, tell};
use crate::os::log;
use crate::path::generation::Generation;
use crate::path::handoff;
use crate::roles::violation::GatewayFault;

/// Longest reason of a Close frame with each byte shown as a character that it is not.
const MAX_REASON: usize = 3 * SessionSummary::MAX_REASON;

/// Reads what a gateway says until it dies or breaks protocol.
pub(super) async fn listen(generation: &Rc<Generation>, gateway: &Rc<Gateway>) -> GatewayFault {
    loop {
        let taken = match gateway.channel.receive().await {
            Ok(GatewayToSupervisor::Report(report)) => take_report(generation, gateway, report),
            Ok(GatewayToSupervisor::Counts(counts)) => gateway.take_answer(counts),
            Ok(GatewayToSupervisor::Stats(stats)) => gateway.take_stats(stats),
            Ok(GatewayToSupervisor::OpenRecording(id)) => record(generation, gateway, id),
            Ok(GatewayToSupervisor::Requested(requested)) => take_requests(generation, gateway, requested),
            Ok(GatewayToSupervisor::Ready(_) | GatewayToSupervisor::Failed(_)) => {
                unreachable!("the channel accepts it once")
            }
            Err(error) => Err(error.into()),
        };
        if let Err(fault) = taken {
            return fault;
        }
    }
}

/// Believes what a gateway says about its own connections. Each entry uses up a connection, so nobody can
/// report without end.
fn take_report(generation: &Generation, gateway: &Gateway, report: Report) -> Result<(), GatewayFault> {
    if report.is_empty() {
        return Err(GatewayFault::OutOfTurn);
    }
    let service = &generation.service;
    handoff::take_acknowledgements(service);
    let mut connections = service.connections.borrow_mut();
    for id in report.lost {
        let unserved = connections.lost(id, gateway.id).ok_or(GatewayFault::Foreign(id))?;
        lighten(generation, gateway);
        spawn_local(handoff::offer_again(service.clone(), unserved));
    }
    for ended in report.ended {
        let id = ended.id;
        let reason = ended.session.as_ref().map_or(0, |session| session.close_reason.len());
        if reason > MAX_REASON || !connections.ended(ended, gateway.id) {
            return Err(GatewayFault::Foreign(id));
        }
        lighten(generation, gateway);
        service.note_change();
    }
    Ok(())
}

/// Opens a file for the recording of a session. Each connection gets one at most.
fn record(generation: &Rc<Generation>, gateway: &Rc<Gateway>, id: ConnectionId) -> Result<(), GatewayFault> {
    let client = generation.service.connections.borrow_mut().record(id, gateway.id);
    let client = client.ok_or(GatewayFault::Foreign(id))?;
    let answer = match generation.recordings.as_ref().map(|recordings| recordings.open(id)) {
        // Before an upgrade it was configured otherwise.
        None => SupervisorToGateway::NoRecording(id),
        Some(Ok((path, file))) => {
            let path = path.display();
            tracing::info!(target: "websockify::gateway", websockify_client = %client, "opening record file: {path}");
            SupervisorToGateway::Recording { id, file }
        }
        Some(Err(error)) => {
            tracing::error!(target: "websockify::gateway", "cannot record session {id}: {error}");
            SupervisorToGateway::NoRecording(id)
        }
    };
    let (generation, gateway) = (generation.clone(), gateway.clone());
    // One that is gone needs no answer.
    spawn_local(async move { _ = tell(&generation, &gateway, &answer).await });
    Ok(())
}

/// Believes what a gateway says about how its sessions came to be, once for each of its connections.
fn take_requests(
    generation: &Generation,
    gateway: &Gateway,
    requested: Vec<Requested>,
) -> Result<(), GatewayFault> {
    if requested.is_empty() || !log::keeps_fields() {
        return Err(GatewayFault::OutOfTurn);
    }
    let service = &generation.service;
    handoff::take_acknowledgements(service);
    let mut connections = service.connections.borrow_mut();
    for Requested { id, request } in requested {
        if !request.fits() || !connections.requested(id, request, gateway.id) {
            return Err(GatewayFault::Foreign(id));
        }
    }
    Ok(())
}
