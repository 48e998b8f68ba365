//! What takes clients in: the listeners, and the generations of roles that serve them.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::Notify;

use super::generations::Generations;
use super::listeners::Listeners;
use crate::os::log::message_id;
use crate::state::service::ServiceState;

/// What takes clients in.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    pub(crate) state: Rc<ServiceState>,
    /// The roles, under the configuration in force and under earlier ones.
    pub(crate) generations: Generations,
    /// Where clients come from.
    pub(crate) listeners: Listeners,
    /// Where systemd listens, if that is not where the configuration says.
    pub(crate) listens_elsewhere: RefCell<Option<String>>,
    /// Notified when a connection was handed over, and an acknowledgement will come.
    pub(super) handed_over: Notify,
}

impl Intake {
    /// Says so when systemd listens elsewhere than the configuration in force says.
    pub(crate) fn compare_listeners(&self) {
        let generation = self.generations.current();
        let elsewhere = generation.and_then(|generation| self.listeners.elsewhere(&generation.config));
        if let Some(elsewhere) = &elsewhere {
            tracing::warn!(
                message_id = message_id::LISTEN_MISMATCH,
                "systemd listens on {elsewhere}, which is not what `listen` says; run: systemctl daemon-reload, \
                 then systemctl restart with the socket unit, which ends the sessions",
            );
        }
        self.listens_elsewhere.replace(elsewhere);
    }

    /// Whether every connection finds the roles that it needs.
    pub(crate) fn can_serve(&self) -> bool {
        self.generations.current().is_some_and(|generation| generation.can_serve())
    }

    /// Lets nobody in any more; the service ends with its last connection.
    pub(crate) fn drain(&self) {
        self.state.draining.set(true);
        self.listeners.close();
        self.state.note_change();
    }
}
