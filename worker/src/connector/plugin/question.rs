//! What a plugin is asked.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::connector::client_request::{ClientRequest, RequestKind};
use crate::connector::target::Target;

/// One question. `docs/plugins.md` says what the fields mean.
#[derive(Clone, Serialize)]
pub(in crate::connector) struct Question<'a> {
    /// Comes back with the answer. Numbers are not used again on one connection.
    id: u64,
    /// What the plugin is to decide.
    ask: Ask,
    /// What the client asks for.
    wants: RequestKind,
    /// The client's token.
    token: Option<&'a str>,
    /// Path and query of the request.
    path: &'a str,
    /// Header fields by their name in lower case.
    headers: BTreeMap<&'a str, &'a str>,
    /// The client's address without its port, or the path of the unix socket that it came to.
    client: String,
    /// The common name in the client's certificate, if that was verified.
    certificate: Option<&'a str>,
    /// Who the client has proved to be so far.
    user: Option<&'a str>,
    /// Where the client is to be connected, if that is known already.
    #[serde(serialize_with = "as_text")]
    target: Option<&'a Target>,
}

/// What a plugin decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::connector) enum Ask {
    /// Where a token leads.
    Target,
    /// Whether a client is let in.
    Auth,
}

impl<'a> Question<'a> {
    /// A question about a request; none if that is too long to be passed on.
    pub(in crate::connector) fn about(
        request: &ClientRequest<'a>,
        ask: Ask,
        user: Option<&'a str>,
        target: Option<&'a Target>,
    ) -> Option<Self> {
        let ClientRequest { client, facts, kind } = *request;
        let head = facts.head.as_ref()?;
        Some(Self {
            id: 0,
            ask,
            wants: kind,
            token: facts.token.as_ref().map(|token| token.reveal()),
            path: head.path.reveal(),
            headers: head.headers.iter().map(|field| (field.name.as_str(), field.value.reveal())).collect(),
            client: client.to_string(),
            certificate: facts.common_name.as_deref(),
            user,
            target,
        })
    }

    /// The question as one line with a number. JSON needs no line breaks.
    pub(super) fn line(&self, id: u64) -> Vec<u8> {
        let mut line = Question { id, ..self.clone() }.body();
        line.push(b'\n');
        line
    }

    /// The question as the body of an HTTP request.
    pub(super) fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a question is text, numbers and names")
    }
}

fn as_text<S: Serializer>(target: &Option<&Target>, serializer: S) -> Result<S::Ok, S::Error> {
    match target {
        Some(target) => serializer.collect_str(target),
        None => serializer.serialize_none(),
    }
}
