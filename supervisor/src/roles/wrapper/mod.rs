//! The wrapped program: a program of somebody else that binds the port which we hold, and that sessions
//! are connected to.
//!
//! A [`Program`] (`program`) outlives configurations and generations of roles. It keeps a port reserved for the
//! program (`port`), which `rebind.so` (`library`) makes the program bind in place of ours; each run of the
//! program has a wrapper process of its own (`run`), and `listening` finds out when clients can be let
//! through. What to do after a run is decided in `life` and in `respawn`. An upgrade hands everything on
//! (`snapshot`).

mod environment;
mod library;
mod life;
mod listening;
mod phase;
mod port;
mod program;
mod respawn;
mod run;
mod snapshot;
mod user;

pub(crate) use program::{Program, WrapError};
pub(crate) use snapshot::{ProgramSnapshot, adopt};
