//! Handling of a gateway's messages, and the limits of trust in them.

use std::net::SocketAddr;
use std::rc::Rc;

use common::ipc::ConnectionId;
use common::ipc::gateway::{Count, GatewayToSupervisor, Report, SessionSummary, SupervisorToGateway};
use common::ipc::offence::Offence;
use common::ipc::request::Requested;
use common::ipc::stats::Stats;
use common::role::RoleName;
use tokio::task::spawn_local;

use super::process::{Gateway, MAX_UNASKED_STATS};
use crate::files::recordings::Recordings;
use crate::os::log;
use crate::roles::peer::Fault;
use crate::roles::scope::Scope;
use crate::state::connections::Todo;

/// Handles a message of a serving gateway.
pub(super) fn take(
    scope: &Scope,
    recordings: Option<&Rc<Recordings>>,
    gateway: &Rc<Gateway>,
    message: GatewayToSupervisor,
) -> Result<(), Fault> {
    match message {
        GatewayToSupervisor::Report(report) => take_report(scope, gateway, report),
        GatewayToSupervisor::Counts(counts) => take_counts(scope, gateway, counts),
        GatewayToSupervisor::Stats(stats) => take_stats(gateway, stats),
        GatewayToSupervisor::OpenRecording { id, vouched } => record(scope, recordings, gateway, id, vouched),
        GatewayToSupervisor::Requested(requested) => take_requests(scope, gateway, requested),
        GatewayToSupervisor::Ready(_) | GatewayToSupervisor::Failed(_) => Err(Fault::out_of_turn()),
    }
}

/// Passes an answer to the oldest pending request.
fn take_counts(scope: &Scope, gateway: &Gateway, counts: Vec<Count>) -> Result<(), Fault> {
    let asked = gateway.asked.borrow_mut().pop_front().ok_or_else(Fault::out_of_turn)?;
    let mut connections = scope.state.connections.borrow_mut();
    for count in &counts {
        if !connections.counted(count, gateway.id) {
            return Err(Fault::foreign(count.id));
        }
    }
    drop(connections);
    // Fails if the requester has given up.
    let _ = asked.send(counts);
    Ok(())
}

/// Handles counters: the answer to a request, or the final report.
fn take_stats(gateway: &Gateway, stats: Stats) -> Result<(), Fault> {
    let asked = gateway.stats_asked.take();
    if asked.is_none() {
        gateway.unasked_stats.set(gateway.unasked_stats.get() + 1);
    }
    if gateway.unasked_stats.get() > MAX_UNASKED_STATS {
        return Err(Fault::out_of_turn());
    }
    if !stats.is_possible(&gateway.stats.borrow(), &gateway.bounds()) {
        return Err(Fault::Violation("impossible counts".into()));
    }
    gateway.stats.replace(stats);
    if let Some(asked) = asked {
        // Fails if the requester has given up.
        let _ = asked.send(());
    }
    Ok(())
}

/// Accepts what a gateway reports about its own connections. Each entry consumes a connection, which bounds
/// the number of reports.
fn take_report(scope: &Scope, gateway: &Gateway, report: Report) -> Result<(), Fault> {
    if report.is_empty() {
        return Err(Fault::out_of_turn());
    }
    gateway.take_acknowledgements(scope);
    let mut connections = scope.state.connections.borrow_mut();
    let mut todo = Todo::default();
    let mut impossible = None;
    for id in report.lost {
        todo.and(connections.lost(id, gateway.id));
    }
    for ended in report.ended {
        let is_told = |offence: Offence| offence.reporter() == Some(RoleName::Gateway);
        if !ended.session.as_ref().is_none_or(SessionSummary::is_possible)
            || !ended.offence.is_none_or(is_told)
        {
            impossible = Some(ended.id);
            break;
        }
        todo.and(connections.ended(ended, gateway.id));
    }
    let foreign = impossible.or(todo.violation_of(gateway.id));
    drop(connections);
    scope.state.leave(todo);
    foreign.map_or(Ok(()), |id| Err(Fault::foreign(id)))
}

/// Opens a file for the recording of a session, at most once for each connection.
fn record(
    scope: &Scope,
    recordings: Option<&Rc<Recordings>>,
    gateway: &Rc<Gateway>,
    id: ConnectionId,
    vouched: Option<SocketAddr>,
) -> Result<(), Fault> {
    let client = scope.state.connections.borrow_mut().record(id, vouched, gateway.id);
    let client = client.ok_or_else(|| Fault::foreign(id))?;
    let (gateway, recordings) = (gateway.clone(), recordings.cloned());
    spawn_local(async move {
        let opened = match &recordings {
            Some(recordings) => Some(recordings.open(id).await),
            // Recording was enabled before an upgrade, and is disabled now.
            None => None,
        };
        let answer = match opened {
            None => SupervisorToGateway::NoRecording(id),
            Some(Ok((path, file))) => {
                let path = path.display();
                tracing::info!(websockify_client = %client, "opening record file: {path}");
                SupervisorToGateway::Recording { id, file }
            }
            Some(Err(error)) => {
                tracing::error!("cannot record session {id}: {error}");
                SupervisorToGateway::NoRecording(id)
            }
        };
        // Fails if the gateway has ended.
        let _ = gateway.tell(&answer).await;
    });
    Ok(())
}

/// Accepts what a gateway reports about the requests of its sessions, once for each connection.
fn take_requests(scope: &Scope, gateway: &Gateway, requested: Vec<Requested>) -> Result<(), Fault> {
    if requested.is_empty() || !log::keeps_fields() {
        return Err(Fault::out_of_turn());
    }
    gateway.take_acknowledgements(scope);
    let mut connections = scope.state.connections.borrow_mut();
    for Requested { id, request } in requested {
        let took = request.handshake.unwrap_or_default();
        if !request.fits() || !connections.can_have_taken(id, took) {
            return Err(Fault::foreign(id));
        }
        if !connections.requested(id, request, gateway.id) {
            return Err(Fault::foreign(id));
        }
    }
    Ok(())
}
