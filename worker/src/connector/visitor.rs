//! Who asks, and for what.

use common::ipc::ClientAddr;
use common::ipc::admission::ClientFacts;
use serde::Serialize;

/// A client that policy decides about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visitor<'a> {
    /// Where it comes from, by the supervisor's word.
    pub(super) client: &'a ClientAddr,
    /// What it has shown of itself, by the word of its gateway.
    pub(super) facts: &'a ClientFacts,
    /// What it asks for.
    pub(super) wish: Wish,
}

/// What a gateway asks for on behalf of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Wish {
    /// A session with a target.
    Session,
    /// A page.
    Page,
}
