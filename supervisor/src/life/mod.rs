//! Changes of the running service: signals, reload, upgrade, end.

pub(crate) mod daemon;
pub(crate) mod drain;
pub(crate) mod lifetime;
pub(crate) mod reload;
pub(crate) mod signals;
pub(crate) mod upgrade;
pub(crate) mod watchdog;
