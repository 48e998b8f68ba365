//! Phases of the wrapped program.

use std::rc::Rc;
use std::time::Instant;

use common::ipc::wrapper::ProgramEnd;

use crate::roles::peer::Peer;

/// The current phase, for an upgrade.
#[derive(Debug, Default)]
pub(super) enum Phase {
    /// The program does not run.
    #[default]
    Idle,
    /// The program is being started or ended.
    Changing,
    /// The program runs.
    Runs {
        /// The wrapper process.
        wrapper: Rc<Peer>,
        /// Start of the run.
        began: Instant,
        /// Status and time of the end of its first process, if it has ended.
        ended: Option<(ProgramEnd, Instant)>,
    },
}
