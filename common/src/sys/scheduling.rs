//! How the kernel schedules a role.

/// Has the kernel let others finish their time slice when this thread is woken: SCHED_BATCH of sched(7).
/// Threads and processes that it starts inherit that. Nothing happens if another policy than the
/// default is in force, since somebody has chosen it, or if the kernel refuses, as under our unit for systemd,
/// whose filter leaves out `@resources`.
///
/// For a role that is woken for each new connection by a process that has more to do at that moment.
/// Without this, each wake-up takes the processor from it: two switches where one would do, and the next
/// connection finds everybody asleep again. Measured on the connector with 16 clients that connect,
/// exchange 32 bytes and close: 8 % less processor time of all roles for a connection. Not for gateways,
/// which carry the bytes of sessions: on a busy machine they would wait up to a time slice for each.
pub fn do_not_preempt() {
    let no_priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is this thread; `no_priority` is a value that the call reads and does not keep.
    unsafe {
        if libc::sched_getscheduler(0) == libc::SCHED_OTHER {
            libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const no_priority);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_policy_is_batch() {
        super::do_not_preempt();
        // SAFETY: reads the policy of this thread.
        assert_eq!(unsafe { libc::sched_getscheduler(0) }, libc::SCHED_BATCH);
    }
}
