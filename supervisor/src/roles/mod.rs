//! The roles: how each one is started, kept running and ended.
//!
//! `supervise` is the runtime of all roles, `scope` the state that roles of a generation share, `host` their
//! reports, and `role_output` their log lines. Each other module is one role.

pub(crate) mod confinement;
pub(crate) mod connector;
pub(crate) mod echo;
pub(crate) mod exporter;
pub(crate) mod gateway;
pub(crate) mod host;
pub(crate) mod identity;
pub(crate) mod liveness;
pub(crate) mod peer;
pub(crate) mod plugin;
pub(crate) mod role_output;
pub(crate) mod scope;
pub(crate) mod setup;
pub(crate) mod signer;
pub(crate) mod supervise;
pub(crate) mod wrapper;
