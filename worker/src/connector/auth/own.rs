//! Auth plugins of the administrator's own.

use std::time::SystemTime;

use super::error::AuthError;
use crate::connector::grant::Grant;
use crate::connector::plugin::Plugin;
use crate::connector::plugin::answer::Verdict;
use crate::connector::plugin::question::{Ask, Question};
use crate::connector::target::Target;
use crate::connector::visitor::Visitor;

/// A program, a service, or a class of Python.
pub(in crate::connector) struct Own {
    /// How it is asked.
    pub(super) plugin: Plugin,
    /// It is asked when the target is known.
    pub(super) after_lookup: bool,
}

impl Own {
    /// Asks it.
    pub(super) async fn authenticate(
        &self,
        visitor: &Visitor<'_>,
        grant: &mut Grant,
        target: Option<&Target>,
    ) -> Result<(), AuthError> {
        let question = Question::about(visitor, Ask::Auth, grant.user.as_deref(), target)
            .ok_or_else(|| AuthError::Failed("the request is too long for it".to_owned()))?;
        let written =
            self.plugin.ask(&question).await.map_err(|error| AuthError::Failed(error.to_string()))?;
        match written.verdict(SystemTime::now()).map_err(|error| AuthError::Failed(error.to_string()))? {
            Verdict::Allowed { user, lifetime } => {
                grant.name(user);
                grant.limit(lifetime);
                Ok(())
            }
            Verdict::Refused { reason, reply } => Err(AuthError::Refused(reason, reply)),
        }
    }
}
