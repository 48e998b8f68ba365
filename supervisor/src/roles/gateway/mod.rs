//! Gateways: `process` is a running gateway, `slot` starts and replaces one, and `reports` handles its
//! messages.

mod process;
mod reports;
mod slot;

pub(crate) use process::{Gateway, GatewaySnapshot, READ_DEADLINE};
pub(crate) use slot::GatewaySlot;
