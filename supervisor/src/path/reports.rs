//! Handling of the reports of a generation's roles.

use common::ipc::ClientAddr;
use common::ipc::connector::Dialled;
use common::log::Escaped;
use tokio::task::spawn_local;

use super::generation::Generation;
use super::overtime;
use crate::os::log::message_id;
use crate::roles::host::{Event, Host};
use crate::roles::peer::Fault;
use crate::roles::wrapper::Program;
use crate::state::connections::{ClientLookup, Todo};
use crate::state::session::Opening;

impl Host for Generation {
    fn report(&self, event: Event) {
        match event {
            Event::GatewayReady => self.scope.state.room.notify_waiters(),
            Event::GatewayGone => self.end_if_empty(),
            Event::ConnectorReady => {
                if let (Some(program), Some(connector)) = (&self.program, &*self.scope.connector.borrow()) {
                    program.keep_telling(connector);
                }
                // The new connector has no connections to the plugins that run.
                for plugin in &self.plugins {
                    plugin.restart();
                }
                self.introduce_gateways();
            }
            Event::IdentityChanged => self.introduce_gateways(),
            Event::Dialled { all, is_logged } => self.take_dialled(&all, is_logged),
            Event::Revoked(ids) => {
                if let Some(generation) = self.itself() {
                    spawn_local(async move { generation.end_revoked(&ids).await });
                }
            }
            Event::PluginHangs(kind) => {
                if let Some(plugin) = self.plugins.iter().find(|plugin| plugin.kind == kind) {
                    plugin.hangs();
                }
            }
            Event::Accused(by, violation) => {
                // The reporting role may lie. But a hostile role could as well refuse service, so nothing is
                // lost by believing it.
                let gateways = self.pool.all();
                let reported = gateways.iter().find(|gateway| gateway.id == violation.gateway);
                if let Some(gateway) = reported {
                    gateway.peer.kill_for_fault(Fault::reported_by(by, &violation.what));
                }
            }
            // The exporter belongs to no generation.
            Event::PageWanted => {}
        }
    }
}

impl Generation {
    /// Gives every gateway channels to the current connector and signer.
    fn introduce_gateways(&self) {
        for slot in self.pool.slots() {
            // Fails only if the gateway has died. Its successor gets its channels at its start.
            spawn_local(async move { _ = slot.introduce_others().await });
        }
    }

    fn take_dialled(&self, all: &[Dialled], is_logged: bool) {
        let state = &self.scope.state;
        let program = self.program.as_deref();
        let mut todo = Todo::default();
        let mut begun = Vec::new();
        for dialled in all {
            let client =
                state.connections.borrow().client_of_generation(dialled.id, dialled.vouched, self.number);
            let ClientLookup::Client(client) = client else { continue };
            if is_logged {
                log_dialled(dialled, &client, program);
            }
            if dialled.failure.is_some() {
                continue;
            }
            let target = match program {
                Some(program) => {
                    program.note_session();
                    program.describe()
                }
                None => Escaped(&dialled.target).to_string(),
            };
            // Once for each connection, however often it is said.
            let is_first = state.connections.borrow().awaits_target(dialled.id);
            if let Some(connect) = dialled.connect.filter(|_| is_first) {
                state.counters.connects.borrow_mut().count(connect);
            }
            let escaped = |text: &Option<String>| text.as_deref().map(|text| Escaped(text).to_string());
            let opening = Opening {
                target,
                vouched: dialled.vouched,
                user: escaped(&dialled.user),
                auth_method: self.auth_method(),
                token: escaped(&dialled.token),
                expires: dialled.expires,
                connect: dialled.connect,
            };
            let mut connections = state.connections.borrow_mut();
            todo.and(connections.dialled(dialled.id, self.number, opening));
            if let Some(lifetime) = dialled.lifetime {
                let closing = self.config.timeouts.close_handshake + overtime::GRACE;
                connections.limit(dialled.id, lifetime.saturating_add(closing));
                state.limited.notify_one();
            }
            begun.push(dialled.id);
        }
        state.leave(todo);
        if begun.is_empty() {
            return;
        }
        if self.tokens.can_revoke() {
            state.revocable.notify_one();
        }
        if self.tokens.can_revoke() || state.connections.borrow().any_barred() {
            // The files may have changed while the target was dialled, and tokens may have been revoked.
            let generation = self.itself();
            spawn_local(async move {
                if let Some(generation) = generation {
                    generation.revoke_among(&begun).await;
                }
            });
        }
    }
}

/// Logs the lines of the original. The connector's strings are escaped, as those of any role.
fn log_dialled(dialled: &Dialled, client: &ClientAddr, program: Option<&Program>) {
    let client = Escaped(&client.to_string()).to_string();
    let target = Escaped(&dialled.target).to_string();
    let secured = if dialled.secured { " (using SSL)" } else { "" };
    let line = match (program, target.strip_prefix("unix:")) {
        (Some(program), _) => format!("connecting to command: {}{secured}", program.describe()),
        (None, Some(path)) => format!("connecting to unix socket: {path}"),
        (None, None) => format!("connecting to: {target}{secured}"),
    };
    tracing::info!(websockify_client = client, "{line}");
    if let Some(failure) = &dialled.failure {
        let failure = Escaped(failure);
        tracing::info!(
            message_id = message_id::TARGET_UNREACHABLE,
            websockify_client = client,
            websockify_target = target,
            "Failed to connect to {target}: {failure}",
        );
    }
}
