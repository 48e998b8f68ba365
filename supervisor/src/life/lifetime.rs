//! When the service ends by itself.

use std::rc::Rc;

use common::config::Lifetime;
use tokio::time::{Instant, sleep_until};

use crate::run::Service;

/// Waits until no more clients shall be let in, and says why, in the original's words. Never ends if
/// nothing was configured that ends it.
pub(crate) async fn over(service: &Rc<Service>) -> String {
    let begin = Instant::from_std(service.began());
    let mut changes = service.changes();
    let mut idle_since = Some(begin);
    loop {
        // A reload may change it.
        let lifetime = service.generations.current().map(|generation| generation.config.lifetime);
        let Lifetime { run_once, timeout, idle_timeout } = lifetime.unwrap_or_default();
        let (idle, begun) = {
            let connections = service.connections.borrow();
            (connections.is_empty(), connections.totals().opened > 0)
        };
        if service.draining.get() {
            return "letting nobody in any more, as an administrator wants".into();
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

/// Waits until the last connection has ended.
pub(crate) async fn last_connection(service: &Rc<Service>) {
    let mut changes = service.changes();
    while !service.connections.borrow().is_empty() {
        // The sender lives as long as the service.
        let _ = changes.changed().await;
    }
}
