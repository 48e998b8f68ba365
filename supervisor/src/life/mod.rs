//! What changes the service while it runs: signals, reload, upgrade, its end.

pub(crate) mod daemon;
pub(crate) mod lifetime;
pub(crate) mod reload;
pub(crate) mod signals;
pub(crate) mod upgrade;
pub(crate) mod watchdog;
