//! The operating system: processes, the log, the service manager, limits.

pub(crate) mod clock;
pub(crate) mod environment;
pub(crate) mod identity;
pub(crate) mod limits;
pub(crate) mod local_files;
pub(crate) mod log;
pub(crate) mod network;
pub(crate) mod notify;
pub(crate) mod off_loop;
pub(crate) mod orphans;
pub(crate) mod place;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod socket_file;
pub(crate) mod trust;
