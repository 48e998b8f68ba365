//! Token plugins of the administrator's own.

use common::ipc::ClientAddr;
use common::ipc::admission::Shown;

use super::LookupError;
use crate::connector::plugin::Plugin;
use crate::connector::plugin::answer::Answer;
use crate::connector::plugin::question::{Ask, Question};
use crate::connector::target::Target;

/// The target of a token, in the plugin's words.
pub(super) async fn lookup(
    plugin: &Plugin,
    token: &str,
    client: &ClientAddr,
    shown: &Shown,
) -> Result<Target, LookupError> {
    let failed = |why: String| LookupError::Failed(format!("the plugin: {why}"));
    let head = shown.head.as_ref().ok_or_else(|| failed("the request is too long for it".into()))?;
    let client = client.to_string();
    let question = Question {
        id: 0,
        ask: Ask::Target,
        token,
        path: head.path.reveal(),
        headers: head.headers.iter().map(|field| (field.name.as_str(), field.value.reveal())).collect(),
        client: &client,
        certificate: shown.common_name.as_deref(),
    };
    match plugin.ask(&question).await.map_err(|error| failed(error.to_string()))? {
        Answer::Target(target) => Ok(Target::Address(target)),
        Answer::Refused(reason) => Err(LookupError::Refused(reason)),
    }
}
