//! What every role does first and last.

use std::io;
use std::os::fd::OwnedFd;

use common::log::RoleLog;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Logs to the supervisor from now on.
pub(crate) fn log_to(log: OwnedFd, verbose: bool) {
    tracing_subscriber::registry().with(RoleLog::new(log, verbose)).init();
}

/// An event loop of this thread alone: roles have no other threads, except where `getaddrinfo`, which
/// can't wait otherwise, needs them.
pub(crate) fn event_loop() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(16).build()
}

/// What went wrong before a role could say so itself.
pub(crate) fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the supervisor sent {what}"))
}
