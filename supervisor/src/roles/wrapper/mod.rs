//! The wrapped program, which binds the port of the service in its own view, and to which sessions are
//! connected.
//!
//! A [`Program`] (`program`) outlives configurations and generations. It reserves a port (`port`), which the
//! program is made to bind by `rebind.so` (`library`). Each run of the program has a wrapper process (`run`).
//! `listening` detects when clients can connect. `life` and `respawn` decide what follows a run. `snapshot`
//! passes the state on in an upgrade.

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
