//! Exit statuses of the programs, named as in sysexits(3) where that has a suitable name.

/// Success.
pub const SUCCESS: u8 = 0;
/// A failure while running: a socket can't be bound, a role does not start.
pub const FAILURE: u8 = 1;
/// Invalid command line. The value is 2 as in the original and most programs, not `EX_USAGE` (64).
pub const USAGE: u8 = 2;
/// An error in the configuration file: `EX_CONFIG`.
pub const CONFIG: u8 = 78;
