//! Events that roles report. Roles know neither the service nor each other; their host coordinates them.

use std::fmt::Debug;

use common::ipc::connector::Dialled;
use common::ipc::lookup::PluginKind;
use common::ipc::{ConnectionId, Violation};
use common::role::RoleName;

/// The owner of a role. Reports are handled synchronously, so that they keep their order; slow work is done
/// in a task.
pub(crate) trait Host: Debug {
    /// Handles a report.
    fn report(&self, event: Event);
}

/// A report of a role.
#[derive(Debug)]
pub(crate) enum Event {
    /// A gateway can take connections.
    GatewayReady,
    /// A gateway has ended.
    GatewayGone,
    /// A connector is ready to answer requests.
    ConnectorReady,
    /// The connector has dialled targets.
    Dialled {
        /// Results of the dials.
        all: Vec<Dialled>,
        /// Whether to log them: false if the connector has exceeded its budget of log lines.
        is_logged: bool,
    },
    /// The connector has found that the tokens of these sessions no longer allow them.
    Revoked(Vec<ConnectionId>),
    /// A plugin program does not answer the connector.
    PluginHangs(PluginKind),
    /// Another certificate, signer or secret of session tickets is in force.
    IdentityChanged,
    /// A role reports that a gateway has broken protocol.
    Accused(RoleName, Violation),
    /// The exporter needs a page.
    PageWanted,
}
