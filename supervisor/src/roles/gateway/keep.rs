//! Keeping a gateway: when it has died, another takes its place.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;
use tokio::time::sleep;

use super::reports::listen;
use super::{Started, start};
use crate::os::log::message_id;
use crate::path::generation::Generation;
use crate::path::handoff;
use crate::roles::liveness;
use crate::roles::role::{self, Backoff};
use crate::roles::violation::{self, GatewayFault};

/// How long the connector's word about a target may be on its way.
const CONNECTOR_DELAY: Duration = Duration::from_millis(20);

/// Keeps a gateway: reads what it says, and when it has died starts another in its place.
pub(crate) async fn keep(generation: Rc<Generation>, first: Started) {
    let service = &generation.service;
    let mut backoff = Backoff::new();
    let mut started = Some(first);
    while let Some((gateway, role)) = started.take() {
        let since = Instant::now();
        let hangs = liveness::until_silent(service, async || {
            if gateway.count(Vec::new()).await.is_none() {
                // Its end is seen by who listens to it.
                std::future::pending::<()>().await;
            }
        });
        let error = tokio::select! {
            error = listen(&generation, &gateway) => error,
            () = hangs => GatewayFault::Hung,
        };
        violation::condemn(&generation, &gateway, &error);
        generation.pool.remove(gateway.id);
        let status = role.process.kill().await;
        gateway.is_ended.set(true);
        gateway.stats_asked.take();
        service.departed.borrow_mut().add(&gateway.stats.borrow());
        gateway.ended.notify_waiters();
        // The connector may still have to say which of its connections have become sessions.
        sleep(CONNECTOR_DELAY).await;
        // Now that it is dead, nothing more can come, and what came is all that it has begun to read.
        let _ = handoff::take_acknowledgements_of(service, &gateway);
        let orphans = service.connections.borrow_mut().orphaned(gateway.id);
        service.note_change();
        if service.stopping.get() {
            return;
        }
        let is_replaced = !generation.is_retired();
        if !gateway.told_to_end.get() {
            tracing::error!(
                target: "websockify::gateway",
                message_id = message_id::ROLE_DIED,
                websockify_role = "gateway",
                websockify_worker_pid = gateway.pid,
                "gateway {} (pid {}) is gone ({error}; {}), {} sessions are lost{}",
                gateway.id, gateway.pid, role::describe(status), orphans.lost_sessions,
                if is_replaced { "; starting another" } else { "" },
            );
            generation.identity.renew_ticket_secret(&generation).await;
        }
        for unserved in orphans.unserved {
            let service = service.clone();
            spawn_local(async move { handoff::hand_over(&service, unserved).await });
        }
        while started.is_none() && !service.stopping.get() {
            if !generation.is_retired() {
                backoff.pause(since.elapsed()).await;
            }
            if generation.is_retired() {
                generation.end_if_empty();
                return;
            }
            match start(&generation).await {
                Ok(again) => {
                    service.restarts.set(service.restarts.get() + 1);
                    started = Some(again);
                }
                Err(_) if generation.is_retired() => {}
                Err(error) => tracing::error!(target: "websockify::gateway", "{error}; trying again"),
            }
        }
    }
}
