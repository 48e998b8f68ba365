//! The end of the service in order: clients go elsewhere, sessions end by themselves, and those that remain are ended
//! one after the other.

use std::time::{Duration, Instant};

use common::ipc::gateway::EndCause;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::lifetime;
use super::signals::Signals;
use crate::os::notify;
use crate::path::intake::Intake;
use crate::state::service::Draining;

/// Interval at which sessions are ended while their end is spread.
const STEP: Duration = Duration::from_millis(100);

/// Waits until the service has to end, and lets sessions continue as far as the configuration and an administrator
/// allow. Returns the signal that ends the service, if one does.
pub(crate) async fn time_to_end(intake: &Intake, signals: &mut Signals) -> Option<&'static str> {
    let signal = tokio::select! {
        signal = signals.stop() => signal,
        reason = lifetime::over(intake) => {
            tracing::info!("{reason}");
            // Where an option says when to end, no further client is served, whatever `stop.linger` says.
            if !intake.is_ending() {
                intake.drain(None, None);
                intake.stop_accepting();
            }
            tokio::select! {
                signal = signals.stop() => signal,
                () = carry_out(intake) => return None,
            }
        }
    };
    let Some(drain) = intake.stop_settings().drain else { return Some(signal) };
    intake.drain(Some(drain), None);
    let sessions = intake.state.connections.borrow().totals().sessions;
    tracing::info!(
        "draining ({signal}): {sessions} sessions may continue for {} s, a second signal ends them at once",
        drain.as_secs()
    );
    notify::stopping();
    let mut extension = JoinSet::new();
    extension.spawn_local(notify::keep_extending_stop());
    tokio::select! {
        again = signals.stop() => Some(again),
        () = carry_out(intake) => Some(signal),
    }
}

/// Waits until no client is accepted and the last connection has ended. When time is up, ends the sessions that
/// remain.
async fn carry_out(intake: &Intake) {
    let state = &intake.state;
    let mut changes = state.changes();
    while let Some(Draining { accepts_until, until, spread }) = state.draining.get() {
        let now = Instant::now();
        if accepts_until <= now {
            intake.listeners.close();
            if state.connections.borrow().is_empty() {
                return;
            }
        }
        if until.is_some_and(|until| until <= now) {
            return end_sessions(intake, spread).await;
        }
        let next = [Some(accepts_until), until].into_iter().flatten().filter(|moment| *moment > now).min();
        tokio::select! {
            () = async { match next { Some(at) => sleep_until(at.into()).await, None => std::future::pending().await } } => {}
            // The sender lives as long as the service.
            _ = changes.changed() => {}
        }
    }
}

/// Ends all sessions, at equal intervals over a time. Those that begin meanwhile end with the service.
async fn end_sessions(intake: &Intake, over: Duration) {
    intake.listeners.close();
    let mut left = intake.state.connections.borrow().ids();
    let (began, total) = (Instant::now(), left.len());
    while !left.is_empty() && began.elapsed() < over {
        sleep(STEP).await;
        let due = ended_by(began.elapsed(), over, total).saturating_sub(total - left.len());
        let ids: Vec<_> = left.drain(..due.min(left.len())).collect();
        for generation in intake.generations.all() {
            generation.end_sessions_among(&ids, EndCause::Shutdown).await;
        }
    }
}

/// The number of `total` sessions that must have ended after a part of the time.
fn ended_by(elapsed: Duration, over: Duration, total: usize) -> usize {
    let elapsed = elapsed.min(over).as_millis();
    let all = u128::try_from(total).unwrap_or(u128::MAX);
    let ended = elapsed.saturating_mul(all).div_ceil(over.as_millis().max(1));
    usize::try_from(ended).unwrap_or(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_spread_evenly() {
        let over = Duration::from_secs(60);
        let by = |seconds| ended_by(Duration::from_secs_f64(seconds), over, 1000);
        assert_eq!((by(0.0), by(0.1), by(30.0), by(60.0), by(61.0)), (0, 2, 500, 1000, 1000));
        assert_eq!(ended_by(Duration::ZERO, Duration::ZERO, 3), 0);
    }
}
