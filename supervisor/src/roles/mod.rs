//! The other processes: how each is started, kept running and ended.
//!
//! `supervise` is the runtime that all share, `scope` what those of one generation have in common, `host` what they
//! report, `voice` what they log. The others are one role each.

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
pub(crate) mod scope;
pub(crate) mod setup;
pub(crate) mod signer;
pub(crate) mod supervise;
pub(crate) mod voice;
pub(crate) mod wrapper;
