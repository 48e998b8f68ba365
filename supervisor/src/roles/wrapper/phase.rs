//! What goes on with the wrapped program.

use std::rc::Rc;
use std::time::Instant;

use common::ipc::wrapper::ProgramEnd;

use crate::roles::peer::Peer;

/// What is going on, for an upgrade.
#[derive(Debug, Default)]
pub(super) enum Phase {
    /// The program does not run.
    #[default]
    Idle,
    /// It is being started or ended.
    Changing,
    /// It runs.
    Runs {
        /// Its wrapper.
        wrapper: Rc<Peer>,
        /// Since when.
        began: Instant,
        /// How and when its first process has ended.
        ended: Option<(ProgramEnd, Instant)>,
    },
}
