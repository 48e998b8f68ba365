//! The state of connections and sessions: data that several parts of the supervisor share and that imports none of
//! them.

pub(crate) mod connections;
pub(crate) mod reload_requests;
pub(crate) mod service;
pub(crate) mod session;
pub(crate) mod session_records;
pub(crate) mod sources;
