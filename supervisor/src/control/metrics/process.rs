//! The process metrics defined by Prometheus client libraries, for the supervisor. Under systemd the
//! supervisor can't see its roles in /proc; systemd accounts for their memory and processor time.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};

use super::text::Text;
use crate::path::intake::Intake;

/// Writes the process metrics. Values that the kernel does not provide are omitted.
pub(super) fn write(text: &mut Text, intake: &Intake) {
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let seconds = [usage.user_time(), usage.system_time()]
            .iter()
            .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
            .sum::<f64>();
        text.counter("process_cpu_seconds", "Processor time of the supervisor.");
        text.total(&[], format_args!("{seconds:.6}"));
    }
    if let Some((virtual_pages, resident_pages)) = pages() {
        let page = rustix::param::page_size() as u64;
        let help = "Address space of the supervisor.";
        text.gauge("process_virtual_memory_bytes", help, virtual_pages.saturating_mul(page));
        let help = "Memory of the supervisor.";
        text.gauge("process_resident_memory_bytes", help, resident_pages.saturating_mul(page));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One descriptor belongs to this reading of the directory.
        let count = open.count().saturating_sub(1);
        text.gauge("process_open_fds", "Descriptors that the supervisor has open.", count);
    }
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        text.gauge(
            "process_max_fds",
            "Maximum number of descriptors that the supervisor may have open.",
            soft,
        );
    }
    let began = SystemTime::now().checked_sub(intake.state.began().elapsed());
    if let Some(Ok(began)) = began.map(|began| began.duration_since(UNIX_EPOCH)) {
        let help = "Start of the service, in seconds since 1970; upgrades don't count.";
        text.gauge("process_start_time_seconds", help, format_args!("{:.3}", began.as_secs_f64()));
    }
}

/// Size of the address space and of the resident set (proc_pid_statm(5)).
fn pages() -> Option<(u64, u64)> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let mut fields = statm.split_whitespace().map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}
