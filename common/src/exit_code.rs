//! Exit codes of the programs, named as in sysexits(3) where that has a name for the case.

/// All went well.
pub const SUCCESS: u8 = 0;
/// Something failed while running: a socket that can't be bound, a role that doesn't start.
pub const FAILURE: u8 = 1;
/// Wrong use of the command line. 2 as the original and most programs, not `EX_USAGE` (64).
pub const USAGE: u8 = 2;
/// Something is wrong in the configuration file, `EX_CONFIG`.
pub const CONFIG: u8 = 78;
