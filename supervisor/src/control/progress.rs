//! Traffic of sessions as reported by their gateways.

use std::collections::HashMap;
use std::time::Duration;

use common::control::Session;
use common::ipc::ConnectionId;
use common::ipc::gateway::Count;
use common::ipc::stats::Stats;
use tokio::time::timeout;

use crate::path::intake::Intake;

/// Time limit for a gateway to report. The report of a busy one is omitted.
const COUNT_DEADLINE: Duration = Duration::from_secs(1);

/// All sessions, oldest first, with counters if their gateway has reported them.
pub(crate) async fn sessions(intake: &Intake) -> Vec<Session> {
    let mut counts = HashMap::new();
    for generation in intake.generations.all() {
        for gateway in generation.pool.all() {
            let ids = intake.state.connections.borrow().sessions_of(gateway.id);
            for some in ids.chunks(Count::MAX_BATCH) {
                match timeout(COUNT_DEADLINE, gateway.count(some.to_vec())).await {
                    // Reports about sessions of other gateways are ignored.
                    Ok(Some(answers)) => {
                        let own = answers.into_iter().filter(|count| some.contains(&count.id));
                        counts.extend(own.map(|count| (count.id, count)));
                    }
                    // The gateway is busy, or has ended.
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

/// Sums over all gateways, including those that have ended.
pub(crate) async fn stats(intake: &Intake) -> Stats {
    let mut stats = intake.state.counters.departed.borrow().clone();
    for generation in intake.generations.all() {
        for gateway in generation.pool.all() {
            // A busy gateway counts with its last report.
            let _ = timeout(COUNT_DEADLINE, gateway.refresh_stats()).await;
            stats.add(&gateway.stats.borrow());
        }
    }
    stats
}
