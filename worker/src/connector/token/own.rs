//! Token plugins of the administrator's own.

use std::time::SystemTime;

use super::error::LookupError;
use crate::connector::grant::Grant;
use crate::connector::plugin::Plugin;
use crate::connector::plugin::answer::Answer;
use crate::connector::plugin::question::{Ask, Question};
use crate::connector::target::Target;
use crate::connector::visitor::Visitor;

/// The target of a visitor's token, in the plugin's words. What else it says is added to what the visitor was
/// granted before.
pub(super) async fn lookup(
    plugin: &Plugin,
    visitor: &Visitor<'_>,
    grant: &mut Grant,
) -> Result<Target, LookupError> {
    let failed = |why: String| LookupError::Failed(format!("the plugin: {why}"));
    let question = Question::about(visitor, Ask::Target, grant.user.as_deref(), None)
        .ok_or_else(|| failed("the request is too long for it".into()))?;
    let written = plugin.ask(&question).await.map_err(|error| failed(error.to_string()))?;
    match written.target(SystemTime::now()).map_err(|error| failed(error.to_string()))? {
        Answer::Target { address, lifetime } => {
            grant.limit(lifetime);
            Ok(Target::Address(address))
        }
        Answer::Refused(reason) => Err(LookupError::Refused(reason)),
    }
}
