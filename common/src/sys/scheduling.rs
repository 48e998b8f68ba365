//! Scheduling policy of a role.

/// Makes the kernel let others finish their time slice when this thread is woken: SCHED_BATCH of sched(7).
/// Threads and processes that it starts inherit that. There is no effect if another policy than the default
/// is in force, which was chosen deliberately, or if the kernel refuses, as under our systemd unit, whose filter
/// excludes `@resources`.
///
/// For a role that is woken for each new connection by a process that has more to do at that moment.
/// Otherwise each wake-up preempts that process: there are two context switches instead of one, and all roles
/// are asleep again for the next connection. Measured on the connector with 16 clients that connect, exchange
/// 32 bytes and close, it saves 8 % of the processor time of all roles. It is not for gateways, which forward
/// the bytes of sessions: on a busy machine they would wait up to a time slice for each.
pub fn do_not_preempt() {
    let no_priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is this thread; `no_priority` is a value that the call reads and does not keep.
    unsafe {
        if libc::sched_getscheduler(0) == libc::SCHED_OTHER {
            libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const no_priority);
        }
    }
}

/// Lowers the priority of this thread as far as it goes: `setpriority(2)` with 19, for a thread that computes for long.
/// There is no effect if the kernel refuses.
pub fn give_way() {
    const LOWEST: libc::c_int = 19;
    // SAFETY: takes numbers only; 0 is this thread.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, LOWEST);
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
