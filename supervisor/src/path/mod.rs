//! The path of a connection through the supervisor, from the listening socket to a gateway.

pub(crate) mod accept;
mod ending;
pub(crate) mod generation;
pub(crate) mod generations;
pub(crate) mod handoff;
pub(crate) mod intake;
pub(crate) mod listen;
pub(crate) mod listeners;
pub(crate) mod overtime;
mod pool;
mod reports;
pub(crate) mod revocation;
