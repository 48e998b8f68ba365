//! The other processes: how each is started, kept running and ended.

pub(crate) mod confinement;
pub(crate) mod connector;
pub(crate) mod echo;
pub(crate) mod exporter;
pub(crate) mod gateway;
pub(crate) mod liveness;
pub(crate) mod plugin;
pub(crate) mod role;
pub(crate) mod setup;
pub(crate) mod signer;
pub(crate) mod violation;
pub(crate) mod wrapper;
