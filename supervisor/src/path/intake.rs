//! The state of accepting clients: listeners and generations.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::config::{Config, Stop};
use tokio::sync::Notify;

use super::generation::Generation;
use super::generations::Generations;
use super::listeners::Listeners;
use crate::os::log::message_id;
use crate::state::service::{Draining, ServiceState};

/// The listeners, and the generations that serve their clients.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    pub(crate) state: Rc<ServiceState>,
    /// The generations, current and retired.
    pub(crate) generations: Generations,
    /// The open listeners.
    pub(crate) listeners: Listeners,
    /// Addresses of the sockets that systemd passed, if they differ from the configuration.
    pub(crate) listens_elsewhere: RefCell<Option<String>>,
    /// Notified when a connection has been handed over, so that an acknowledgement is due.
    pub(super) handed_over: Notify,
}

impl Intake {
    /// Logs a warning if the passed sockets have other addresses than those of the configuration.
    pub(crate) fn compare_listeners(&self) {
        let generation = self.generations.current();
        let elsewhere = generation.and_then(|generation| self.listeners.elsewhere(&generation.config));
        if let Some(elsewhere) = &elsewhere {
            tracing::warn!(
                message_id = message_id::LISTEN_MISMATCH,
                "systemd listens on {elsewhere}, which differs from `listen`; run: systemctl daemon-reload, \
                 then systemctl restart with the socket unit, which ends the sessions",
            );
        }
        self.listens_elsewhere.replace(elsewhere);
    }

    /// Puts a generation into force.
    pub(crate) fn put_into_force(&self, generation: Rc<Generation>) {
        let Config { per_source, penalties, proxy, per_target, .. } = &generation.config;
        let mut connections = self.state.connections.borrow_mut();
        connections.sources_mut().obey(per_source.clone(), *penalties, proxy.trusted.clone());
        connections.limit_targets(per_target.sessions);
        connections.set_places(generation.pool.places());
        drop(connections);
        self.state.set_token_key(generation.token_key().clone());
        self.generations.add(generation);
    }

    /// Whether the roles that every connection needs are ready.
    pub(crate) fn can_serve(&self) -> bool {
        self.generations.current().is_some_and(|generation| generation.can_serve())
    }

    /// The share of connections that are free, in percent: of `limits.connections`, or of what descriptors permit.
    pub(crate) fn free_percent(&self) -> u64 {
        let Some(generation) = self.generations.current() else { return 0 };
        let configured = generation.config.limits.connections.map(|limit| limit.get().into());
        let limit = configured.unwrap_or_else(|| generation.pool.capacity()).max(1);
        let free = limit.saturating_sub(self.state.connections.borrow().load());
        free.saturating_mul(100) / limit
    }

    /// Whether the service drains or stops, so that nothing new should start.
    pub(crate) fn is_ending(&self) -> bool {
        self.state.draining.get().is_some() || self.state.stopping.get()
    }

    /// How the service ends, by the configuration in force.
    pub(crate) fn stop_settings(&self) -> Stop {
        self.generations.current().map(|generation| generation.config.stop).unwrap_or_default()
    }

    /// Closes the listeners of a service that drains, at once.
    pub(crate) fn stop_accepting(&self) {
        let now = Instant::now();
        self.state
            .draining
            .set(self.state.draining.get().map(|draining| Draining { accepts_until: now, ..draining }));
        self.listeners.close();
        self.state.note_change();
    }

    /// Begins to drain: soon no client is accepted, and the service ends with its last connection. Sessions that remain
    /// after `limit` are ended, spread over `spread`, by default the configured time. While the service drains, a
    /// further call changes these times.
    pub(crate) fn drain(&self, limit: Option<Duration>, spread: Option<Duration>) {
        let (now, stop, state) = (Instant::now(), self.stop_settings(), &self.state);
        let accepts_until = match state.draining.get() {
            Some(earlier) => earlier.accepts_until,
            None => now + stop.linger.unwrap_or_default(),
        };
        let (until, spread) = (limit.map(|limit| now + limit), spread.or(stop.spread).unwrap_or_default());
        state.draining.set(Some(Draining { accepts_until, until, spread }));
        if accepts_until <= now {
            self.listeners.close();
        }
        state.note_change();
    }
}
