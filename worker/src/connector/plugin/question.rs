//! What a plugin is asked.

use std::collections::BTreeMap;

use serde::Serialize;

/// One question. `docs/plugins.md` says what the fields mean.
#[derive(Serialize)]
pub(in crate::connector) struct Question<'a> {
    /// Comes back with the answer. Numbers are not used again on one connection.
    pub(in crate::connector) id: u64,
    /// What for.
    pub(in crate::connector) ask: Ask,
    /// The client's token.
    pub(in crate::connector) token: &'a str,
    /// Path and query of the request.
    pub(in crate::connector) path: &'a str,
    /// Header fields by their name in lower case.
    pub(in crate::connector) headers: BTreeMap<&'a str, &'a str>,
    /// The client's address without its port, or the path of the unix socket that it came to.
    pub(in crate::connector) client: &'a str,
    /// The common name in the client's certificate, if that was verified.
    pub(in crate::connector) certificate: Option<&'a str>,
}

/// What a plugin decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::connector) enum Ask {
    /// Where a token leads.
    Target,
}
