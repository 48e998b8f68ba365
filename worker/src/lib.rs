//! The unprivileged roles of websockify, one process each.
#![forbid(unsafe_code)]

pub mod beneath;
pub mod connector;
pub mod echo;
pub mod exporter;
mod family;
pub mod gateway;
pub mod plugin;
mod role;
pub mod sandbox;
pub mod signer;
pub mod wrapper;
