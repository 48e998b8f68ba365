//! Environment variables that concern this service and not the programs that it starts.

use std::ffi::OsStr;

/// Variables of the service manager (sd_notify(3), sd_listen_fds(3), systemd.exec(5)), and of an earlier
/// image.
const OURS: [&str; 21] = [
    "CACHE_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
    "FDSTORE",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LOGS_DIRECTORY",
    "MAINPID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "NOTIFY_SOCKET",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    "SYSTEMD_EXEC_PID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "WEBSOCKIFY_TAKE_OVER",
];

/// Whether a variable concerns this service only.
pub(crate) fn is_ours(name: &OsStr) -> bool {
    OURS.iter().any(|ours| name == *ours)
}
