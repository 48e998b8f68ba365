//! The subject of policy decisions.

use common::ipc::ClientAddr;
use common::ipc::admission::ClientFacts;
use common::ipc::setup::ConnectorSetup;
use serde::Serialize;

/// A request of a client, for a session or a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientRequest<'a> {
    /// Address of the client, from the supervisor's ticket, or the one that a trusted proxy vouches for.
    pub(super) client: &'a ClientAddr,
    /// Address of that proxy, from the supervisor's ticket.
    pub(super) proxy: Option<&'a ClientAddr>,
    /// Facts about the request, from the gateway.
    pub(super) facts: &'a ClientFacts,
    /// Whether a session or a page is requested.
    pub(super) kind: RequestKind,
}

impl ClientRequest<'_> {
    /// Whether the supervisor counts the request for its client: a proxy vouches for it, and there are limits.
    pub(super) fn is_counted(&self, setup: &ConnectorSetup) -> bool {
        setup.limits_sources && self.facts.vouched.is_some()
    }
}

/// What a client requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RequestKind {
    /// A session with a target.
    Session,
    /// A page.
    Page,
}
