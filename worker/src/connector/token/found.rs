//! What sources find for a token.

use std::rc::Rc;

use common::addr::TargetAddr;
use common::tokens::nested::{NestedPolicy, Unenforceable};
use common::tokens::policy::TokenPolicy;

use crate::connector::target::Target;

/// Where a token leads.
pub(in crate::connector) struct Found {
    /// The targets, at least one, in the order in which they are dialled.
    pub(in crate::connector) targets: Vec<Target>,
    /// What the token allows, if its source says more than the target.
    pub(in crate::connector) policy: Option<Rc<TokenPolicy>>,
    /// Names of fields of the policy that are unknown.
    pub(in crate::connector) unknown: Vec<String>,
    /// What tells the token from others, if that is not the token as the client has sent it.
    pub(in crate::connector) identity: Option<String>,
}

impl From<Target> for Found {
    fn from(target: Target) -> Self {
        Self { targets: vec![target], policy: None, unknown: Vec::new(), identity: None }
    }
}

impl From<TokenPolicy> for Found {
    fn from(policy: TokenPolicy) -> Self {
        Self::allowed(policy, Vec::new())
    }
}

impl Found {
    /// What an answer in JSON says: a target, a policy, or both.
    pub(super) fn in_json(
        target: Option<TargetAddr>,
        policy: Option<NestedPolicy>,
    ) -> Result<Self, Unenforceable> {
        let (policy, unknown) = match (target, policy) {
            (Some(target), None) => return Ok(Target::Address(target).into()),
            (target, policy) => policy.unwrap_or_default().read(target)?,
        };
        Ok(Self::allowed(policy, unknown))
    }

    fn allowed(policy: TokenPolicy, unknown: Vec<String>) -> Self {
        let targets = policy.target.iter().cloned().map(Target::Address).collect();
        Self { targets, policy: Some(Rc::new(policy)), unknown, identity: None }
    }
}
