//! Questions to external plugins.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::connector::client_request::{ClientRequest, RequestKind};
use crate::connector::target::Target;

/// A question. `docs/reference/plugins.md` describes its fields.
#[derive(Clone, Serialize)]
pub(in crate::connector) struct Question<'a> {
    /// Number that the answer repeats. It is not reused on a connection.
    id: u64,
    /// The decision that is requested.
    ask: QuestionKind,
    /// What the client requests.
    wants: RequestKind,
    /// The client's token.
    pub(super) token: Option<&'a str>,
    /// Path and query of the request.
    pub(super) path: &'a str,
    /// Header fields by lower-case name.
    pub(super) headers: BTreeMap<&'a str, &'a str>,
    /// Address of the client without its port, or path of the unix socket that it connected to.
    client: String,
    /// Address of the trusted proxy that has told the client's, in the same form.
    proxy: Option<String>,
    /// Common name of the client's certificate, if it was verified.
    certificate: Option<&'a str>,
    /// The authenticated user, if there is one.
    user: Option<&'a str>,
    /// The target, if it is already known.
    #[serde(serialize_with = "as_text")]
    target: Option<&'a Target>,
}

/// The decision that a plugin makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::connector) enum QuestionKind {
    /// The target of a token.
    Target,
    /// Whether to accept the client.
    Auth,
}

impl<'a> Question<'a> {
    /// Builds a question about a request. Returns `None` if the request is too long to be passed on.
    pub(in crate::connector) fn about(
        request: &ClientRequest<'a>,
        ask: QuestionKind,
        user: Option<&'a str>,
        target: Option<&'a Target>,
    ) -> Option<Self> {
        let ClientRequest { client, proxy, facts, kind } = *request;
        let head = facts.head.as_ref()?;
        Some(Self {
            id: 0,
            ask,
            wants: kind,
            token: facts.token.as_ref().map(|token| token.reveal()),
            path: head.path.reveal(),
            headers: head.headers.iter().map(|field| (field.name.as_str(), field.value.reveal())).collect(),
            client: client.to_string(),
            proxy: proxy.map(ToString::to_string),
            certificate: facts.common_name.as_deref(),
            user,
            target,
        })
    }

    /// Encodes the question as one line. JSON needs no line breaks.
    pub(super) fn line(&self, id: u64) -> Vec<u8> {
        let mut line = Question { id, ..self.clone() }.body();
        line.push(b'\n');
        line
    }

    /// Encodes the question as the body of an HTTP request.
    pub(super) fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a question consists of strings and numbers")
    }
}

fn as_text<S: Serializer>(target: &Option<&Target>, serializer: S) -> Result<S::Ok, S::Error> {
    match target {
        Some(target) => serializer.collect_str(target),
        None => serializer.serialize_none(),
    }
}
