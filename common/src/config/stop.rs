//! The table `[stop]`: how the service ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration::WithUnitOrOff;

/// How the service ends at SIGTERM, SIGINT, or `websockifyctl drain`.
///
/// At once, unless configured otherwise: the listeners are closed and all sessions end. With `drain`, sessions
/// continue meanwhile. A second signal ends the service at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Stop {
    /// How long sessions may continue after a signal to stop.
    ///
    /// The service ends with its last session. systemd is told to wait; an orchestrator that kills after a grace period
    /// needs one that is longer than `drain`, `spread` and `timeouts.stop` together.
    #[cfg_attr(test, schemars(example = &"10m"))]
    #[serde(with = "WithUnitOrOff")]
    pub drain: Option<Duration>,
    /// How long clients are still accepted after the service has said that it is not ready.
    ///
    /// Load balancers need some time to notice. Clients that come meanwhile are served.
    #[cfg_attr(test, schemars(example = &"5s"))]
    #[serde(with = "WithUnitOrOff")]
    pub linger: Option<Duration>,
    /// Time over which the end of the remaining sessions is spread.
    ///
    /// Clients that come back then come one after the other. Each session ends with Close 1001. By default all end at
    /// once.
    #[cfg_attr(test, schemars(example = &"30s"))]
    #[serde(with = "WithUnitOrOff")]
    pub spread: Option<Duration>,
}
