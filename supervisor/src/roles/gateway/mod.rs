//! Gateways: `process` is one as the supervisor knows it, `slot` starts one and another when it dies, `reports` takes
//! what it says.

mod process;
mod reports;
mod slot;

pub(crate) use process::{Gateway, GatewaySnapshot, READ_DEADLINE};
pub(crate) use slot::GatewaySlot;
