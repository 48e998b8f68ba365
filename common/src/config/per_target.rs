//! Limits for each target: the table `[per-target]`.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// Limits for each target, so that one that does not answer, or one that many clients want, takes nothing from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PerTarget {
    /// Maximum number of connections to one target that are being established at a time, at most 256. Further clients wait
    /// for their turn. Default: 16 if tokens choose the target, otherwise 256.
    ///
    /// 256 are established at a time over all targets. One that answers needs a few milliseconds for each; one that does
    /// not needs `timeouts.connect`, which includes the wait for the turn.
    #[cfg_attr(test, schemars(example = 16))]
    pub dials: Option<NonZeroU32>,
    /// Maximum number of sessions with one target at a time. Default: no limit.
    ///
    /// A client beyond it gets 503, unless its token names another target as well. Targets are told apart by the text of their
    /// address.
    #[cfg_attr(test, schemars(example = 10))]
    pub sessions: Option<NonZeroU32>,
}

impl PerTarget {
    /// Upper bound of `dials`: the number of connections that are being established at a time, over all targets.
    pub const MAX_DIALS: u32 = 256;
}
