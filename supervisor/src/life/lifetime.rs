//! Conditions under which the service ends by itself.

use std::rc::Rc;

use common::config::Lifetime;
use tokio::time::{Instant, sleep_until};

use crate::path::intake::Intake;
use crate::roles::wrapper::Program;
use crate::state::service::ServiceState;

/// Waits until clients should no longer be accepted, and returns the reason in the words of the original. Never
/// returns if no such condition is configured.
pub(crate) async fn over(intake: &Intake) -> String {
    let begin = Instant::from_std(intake.state.began());
    let mut changes = intake.state.changes();
    let mut idle_since = Some(begin);
    loop {
        // A reload may have changed the configuration.
        let lifetime = intake.generations.current().map(|generation| generation.config.lifetime());
        let Lifetime { run_once, timeout, idle_timeout } = lifetime.unwrap_or_default();
        let (idle, begun) = {
            let connections = intake.state.connections.borrow();
            (connections.is_empty(), connections.totals().opened > 0)
        };
        if intake.state.draining.get().is_some() {
            return "draining, as an administrator has ordered".into();
        }
        if run_once && begun {
            return "exiting due to --run-once".into();
        }
        idle_since = if idle { idle_since.or_else(|| Some(Instant::now())) } else { None };
        let at_timeout = timeout.map(|after| begin + after);
        let at_idle = idle_timeout.and_then(|after| Some(idle_since? + after));
        let now = Instant::now();
        if let (Some(at), Some(after)) = (at_timeout, timeout) {
            if now >= at {
                return format!("listener exit due to --timeout {}", after.as_secs());
            }
        }
        if let (Some(at), Some(after)) = (at_idle, idle_timeout) {
            if now >= at {
                return format!("listener exit due to --idle-timeout {}", after.as_secs());
            }
        }
        let next = [at_timeout, at_idle].into_iter().flatten().min();
        tokio::select! {
            () = async { match next { Some(at) => sleep_until(at).await, None => std::future::pending().await } } => {}
            // The sender lives as long as the service.
            _ = changes.changed() => {}
        }
    }
}

/// Waits for the end of the last connection.
pub(crate) async fn last_connection(state: &ServiceState) {
    state.wait_until(|| state.connections.borrow().is_empty()).await;
}

/// Waits for the end of a wrapped program with which the service ends, and returns the exit status. A reload
/// may replace the program.
pub(crate) async fn program_ended(intake: &Intake) -> u8 {
    let mut changes = intake.state.changes();
    loop {
        let program = intake.generations.program();
        let ended = async {
            match program {
                Some(program) => program.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = ended => return status,
            // The sender lives as long as the service.
            _ = changes.changed() => {}
        }
    }
}

/// Ends the program `before` and starts `after`, unless they are the same. As both may need the same port or
/// display, `before` must have ended first.
pub(super) async fn replace_program(before: Option<Rc<Program>>, after: Option<Rc<Program>>) {
    if before.as_ref().map(Rc::as_ptr) == after.as_ref().map(Rc::as_ptr) {
        return;
    }
    if let Some(before) = before {
        before.stop().await;
    }
    if let Some(after) = after {
        if let Err(error) = after.start().await {
            tracing::error!("{error}");
        }
    }
}
