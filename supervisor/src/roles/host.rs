//! What roles report. They know neither the service nor each other: whoever has started them puts together what
//! concerns several.

use std::fmt::Debug;

use common::ipc::Violation;
use common::ipc::connector::Dialled;
use common::ipc::lookup::PluginKind;
use common::role::RoleName;

/// Whoever has started a role. A report is taken at once, so that reports keep their order; what takes time is
/// begun in a task.
pub(crate) trait Host: Debug {
    /// Takes a report.
    fn report(&self, event: Event);
}

/// A report of a role.
#[derive(Debug)]
pub(crate) enum Event {
    /// A gateway can take connections.
    GatewayReady,
    /// A gateway has ended.
    GatewayGone,
    /// A new connector can be asked for targets.
    ConnectorReady,
    /// The connector has dialled targets.
    Dialled {
        /// What came of it.
        all: Vec<Dialled>,
        /// The log says so, unless the connector has made it say too much.
        is_logged: bool,
    },
    /// The connector gets no answer from a plugin program.
    PluginHangs(PluginKind),
    /// Another certificate, signer or secret of session tickets is in force.
    IdentityChanged,
    /// A role says that a gateway broke protocol.
    Accused(RoleName, Violation),
    /// The exporter needs a page.
    PageWanted,
}
