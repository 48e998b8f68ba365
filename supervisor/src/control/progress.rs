//! How far all sessions are, as their gateways say.

use std::collections::HashMap;
use std::time::Duration;

use common::control::Session;
use common::ipc::ConnectionId;
use common::ipc::gateway::Count;
use common::ipc::stats::Stats;
use tokio::time::timeout;

use crate::path::intake::Intake;

/// How long a gateway may take to say how far its sessions are. One that is busy is left out.
const COUNT_DEADLINE: Duration = Duration::from_secs(1);

/// All sessions, oldest first, as far as their gateways say how far they are.
pub(crate) async fn sessions(intake: &Intake) -> Vec<Session> {
    let mut counts = HashMap::new();
    for generation in intake.generations.all() {
        for gateway in generation.pool.all() {
            let ids = intake.state.connections.borrow().sessions_of(gateway.id);
            for some in ids.chunks(Count::MAX_BATCH) {
                match timeout(COUNT_DEADLINE, gateway.count(some.to_vec())).await {
                    // What it says about others than its own is passed over.
                    Ok(Some(answers)) => {
                        let own = answers.into_iter().filter(|count| some.contains(&count.id));
                        counts.extend(own.map(|count| (count.id, count)));
                    }
                    // It is busy, or gone.
                    _ => break,
                }
            }
        }
    }
    let mut sessions = intake.state.connections.borrow().sessions();
    for session in &mut sessions {
        if let Some(count) = counts.get(&ConnectionId(session.id)) {
            (session.bytes_in, session.bytes_out) = (Some(count.to_target), Some(count.to_client));
            session.frames_in = Some(count.frames.to_target);
            session.frames_out = Some(count.frames.to_client);
        }
    }
    sessions
}

/// What all gateways have counted, those that have ended among them.
pub(crate) async fn stats(intake: &Intake) -> Stats {
    let mut stats = intake.state.counters.departed.borrow().clone();
    for generation in intake.generations.all() {
        for gateway in generation.pool.all() {
            // One that is busy counts as when it was asked last.
            let _ = timeout(COUNT_DEADLINE, gateway.refresh_stats()).await;
            stats.add(&gateway.stats.borrow());
        }
    }
    stats
}
