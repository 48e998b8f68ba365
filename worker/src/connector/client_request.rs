//! What policy decides about.

use common::ipc::ClientAddr;
use common::ipc::admission::ClientFacts;
use serde::Serialize;

/// A request of a client, for a session or a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientRequest<'a> {
    /// The client's address, from the supervisor.
    pub(super) client: &'a ClientAddr,
    /// What the client has shown in its request, from its gateway.
    pub(super) facts: &'a ClientFacts,
    /// What it asks for.
    pub(super) kind: RequestKind,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RequestKind {
    /// A session with a target.
    Session,
    /// A page.
    Page,
}
