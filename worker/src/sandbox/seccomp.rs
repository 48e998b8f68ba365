//! The system calls that each role may make (seccomp(2)).
//!
//! A call that is not listed fails with `EPERM`, which most code can handle: the implementation of a library
//! function may change at any time. Calls that no library of ours would ever make, and that serve to take
//! over a system, kill the process (`FATAL`).
//!
//! Calls on the path of session data have no conditions on their arguments: the kernel caches that they are
//! always allowed, and skips the filter for them.

use std::collections::BTreeMap;

use libc as c;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use super::profile::{Profile, Reach};
use crate::beneath::Lookup;

/// A system call, and the conditions on its arguments of which one must hold; no conditions for any
/// arguments.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// From <asm-generic/ioctls.h>. C libraries differ in the type.
const FIONREAD: u64 = 0x541b;
const TIOCOUTQ: u64 = 0x5411;
const FIONBIO: u64 = 0x5421;

/// Flags of open(2), none of which is set when a file is opened for reading.
const WRITES: i32 = c::O_ACCMODE | c::O_CREAT | c::O_TRUNC;

/// System calls of every role, with any arguments. The comments give the reasons.
const EVERY_ROLE: &[i64] = &[
    // The event loop waits, registers descriptors, and wakes itself through an eventfd.
    c::SYS_epoll_pwait,
    c::SYS_epoll_pwait2,
    c::SYS_epoll_ctl,
    #[cfg(target_arch = "x86_64")]
    c::SYS_epoll_wait,
    // The gateway waits for a signature, the connector for a connection that may be established already.
    c::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    c::SYS_poll,
    // Streams and channels. recvmsg(2) receives descriptors from the supervisor.
    c::SYS_read,
    c::SYS_readv,
    c::SYS_recvfrom,
    c::SYS_recvmsg,
    c::SYS_sendto,
    c::SYS_shutdown,
    c::SYS_write,
    c::SYS_writev,
    c::SYS_close,
    // The error of a broken connection, and the type of a socket.
    c::SYS_getsockopt,
    // Memory files of the supervisor, and files of the web directory.
    c::SYS_lseek,
    c::SYS_pread64,
    c::SYS_fstat,
    // The allocator. Executable memory is denied below.
    c::SYS_brk,
    c::SYS_madvise,
    c::SYS_mremap,
    c::SYS_munmap,
    // Locks, clocks without vDSO, and randomness.
    c::SYS_clock_getres,
    c::SYS_clock_gettime,
    c::SYS_clock_nanosleep,
    c::SYS_futex,
    c::SYS_getrandom,
    c::SYS_gettimeofday,
    c::SYS_nanosleep,
    c::SYS_restart_syscall,
    #[cfg(target_arch = "x86_64")]
    c::SYS_time,
    // Exit, panics, and the return from signal handlers.
    c::SYS_exit,
    c::SYS_exit_group,
    c::SYS_getpid,
    c::SYS_gettid,
    c::SYS_rt_sigaction,
    c::SYS_rt_sigprocmask,
    c::SYS_rt_sigreturn,
    c::SYS_sigaltstack,
];

/// The connector creates connected sockets and passes them on.
const CONNECTOR: &[i64] = &[c::SYS_connect, c::SYS_sendmsg];

/// `getaddrinfo` with its modules. It only reads; Landlock restricts which files.
const RESOLVER: &[i64] = &[
    // Sockets to name servers and local services. Landlock denies binding TCP sockets.
    c::SYS_bind,
    c::SYS_getpeername,
    c::SYS_getsockname,
    c::SYS_sendmmsg,
    c::SYS_recvmmsg,
    // Files and their names. Opening has conditions.
    c::SYS_faccessat,
    c::SYS_faccessat2,
    c::SYS_fstatfs,
    c::SYS_getcwd,
    c::SYS_getdents64,
    c::SYS_newfstatat,
    c::SYS_readlinkat,
    c::SYS_statfs,
    c::SYS_statx,
    #[cfg(target_arch = "x86_64")]
    c::SYS_access,
    #[cfg(target_arch = "x86_64")]
    c::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    c::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    c::SYS_stat,
    // Queries of these modules about their process and the system.
    c::SYS_getegid,
    c::SYS_geteuid,
    c::SYS_getgid,
    c::SYS_getppid,
    c::SYS_getuid,
    c::SYS_sysinfo,
    // Event loops of libsystemd.
    c::SYS_dup,
    c::SYS_epoll_create1,
    c::SYS_eventfd2,
    c::SYS_timerfd_create,
    c::SYS_timerfd_settime,
];

/// Threads.
const THREADS: &[i64] = &[
    // The arguments of clone3(2) are in memory, where no filter can check them: it is reported as missing, and the C
    // library falls back to clone(2).
    c::SYS_clone3,
    c::SYS_membarrier,
    c::SYS_rseq,
    c::SYS_sched_getaffinity,
    c::SYS_sched_yield,
    c::SYS_set_robust_list,
    c::SYS_set_tid_address,
];

/// The priority of threads that verify passwords, as in `scheduling::give_way`.
const LOWEST_PRIORITY: u64 = 19;

/// Calls that only an intruder makes.
const FATAL: &[i64] = &[
    // Other programs and processes.
    c::SYS_execve,
    c::SYS_execveat,
    #[cfg(target_arch = "x86_64")]
    c::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    c::SYS_vfork,
    c::SYS_pidfd_getfd,
    c::SYS_process_madvise,
    c::SYS_process_vm_readv,
    c::SYS_process_vm_writev,
    c::SYS_ptrace,
    // Other users and root directories.
    c::SYS_chroot,
    c::SYS_setfsgid,
    c::SYS_setfsuid,
    c::SYS_setgid,
    c::SYS_setgroups,
    c::SYS_setns,
    c::SYS_setregid,
    c::SYS_setresgid,
    c::SYS_setresuid,
    c::SYS_setreuid,
    c::SYS_setuid,
    c::SYS_unshare,
    // Mounts.
    c::SYS_fsmount,
    c::SYS_fsopen,
    c::SYS_mount,
    c::SYS_move_mount,
    c::SYS_open_by_handle_at,
    c::SYS_open_tree,
    c::SYS_pivot_root,
    c::SYS_umount2,
    // Large parts of the kernel in which vulnerabilities are found again and again.
    c::SYS_add_key,
    c::SYS_bpf,
    c::SYS_io_uring_enter,
    c::SYS_io_uring_register,
    c::SYS_io_uring_setup,
    c::SYS_keyctl,
    c::SYS_perf_event_open,
    c::SYS_request_key,
    c::SYS_userfaultfd,
    // The machine.
    c::SYS_delete_module,
    c::SYS_finit_module,
    c::SYS_init_module,
    c::SYS_kexec_load,
    c::SYS_reboot,
    c::SYS_swapoff,
    c::SYS_swapon,
];

/// Confines this thread, and those that it starts, permanently.
///
/// # Errors
///
/// Fails if the kernel does not support such filters or one of their actions.
pub(super) fn install(profile: Profile<'_>) -> Result<(), seccompiler::Error> {
    let allowed = allowed(profile)?;
    let fatal = FATAL.iter().map(|call| (*call, Vec::new())).collect();
    // The strictest result of all filters applies. The last one forbids further filters.
    let missing = [(c::SYS_clone3, Vec::new())].into();
    let answer = SeccompAction::Errno(c::ENOSYS.unsigned_abs());
    apply_filter(&program(missing, SeccompAction::Allow, answer)?)?;
    apply_filter(&program(fatal, SeccompAction::Allow, SeccompAction::KillProcess)?)?;
    let refusal = SeccompAction::Errno(c::EPERM.unsigned_abs());
    apply_filter(&program(allowed, refusal, SeccompAction::Allow)?)
}

/// Denies one system call, if its arguments at all of these positions are nonzero, to this thread and those
/// that it starts. Everything else stays permitted.
///
/// # Errors
///
/// Fails if the kernel does not support such filters.
pub(super) fn refuse(call: i64, places: &[u8]) -> Result<(), seccompiler::Error> {
    let conditions: Vec<_> = places.iter().map(|place| (*place, Qword, Ne, 0)).collect();
    let rules = [(call, vec![when(&conditions)?])].into();
    let answer = SeccompAction::Errno(c::EPERM.unsigned_abs());
    apply_filter(&program(rules, SeccompAction::Allow, answer)?)
}

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(rules, otherwise, listed, TargetArch::try_from(std::env::consts::ARCH)?)?.try_into()
}

fn allowed(profile: Profile<'_>) -> Result<Rules, BackendError> {
    let mut rules: Rules = EVERY_ROLE.iter().map(|call| (*call, Vec::new())).collect();
    every_role(&mut rules)?;
    match profile {
        Profile::Gateway { web_root, records } => {
            // For the end of a session: unread data, and data that the peer has not acknowledged.
            for question in [FIONREAD, TIOCOUTQ] {
                rules.entry(c::SYS_ioctl).or_default().push(when(&[(1, Dword, Eq, question)])?);
            }
            if let Some(directory) = web_root {
                web(&mut rules, directory.lookup())?;
            }
            if records {
                rules.insert(c::SYS_pwrite64, Vec::new());
            }
        }
        Profile::Signer => {}
        Profile::Connector(reach) => connector(&mut rules, reach)?,
        Profile::Echo | Profile::Exporter => _ = rules.insert(c::SYS_accept4, Vec::new()),
    }
    Ok(rules)
}

/// Calls that every role needs with certain arguments.
fn every_role(rules: &mut Rules) -> Result<(), BackendError> {
    let no_code = || when(&[(2, Qword, MaskedEq(flag(c::PROT_EXEC)), 0)]);
    rules.insert(c::SYS_mmap, vec![no_code()?]);
    rules.insert(c::SYS_mprotect, vec![no_code()?]);
    // FIONBIO makes sockets non-blocking. Other requests are dangerous, such as TIOCSTI, which injects
    // terminal input.
    rules.insert(c::SYS_ioctl, vec![when(&[(1, Dword, Eq, FIONBIO)])?]);
    // Commands that the standard library uses to close and copy descriptors. Owners and locks are not among
    // them.
    let commands = [c::F_GETFD, c::F_SETFD, c::F_GETFL, c::F_SETFL, c::F_DUPFD_CLOEXEC];
    let commands = commands.map(|command| when(&[(1, Dword, Eq, flag(command))]));
    rules.insert(c::SYS_fcntl, commands.into_iter().collect::<Result<_, _>>()?);
    // abort(3) sends its signal to its own process.
    let own = u64::from(std::process::id());
    rules.insert(c::SYS_tgkill, vec![when(&[(0, Dword, Eq, own)])?]);
    Ok(())
}

/// Files and listings of the web directory. With openat2(2), paths that the kernel rejects are looked up
/// again step by step.
fn web(rules: &mut Rules, lookup: Lookup) -> Result<(), BackendError> {
    rules.insert(c::SYS_getdents64, Vec::new());
    if lookup == Lookup::Kernel {
        rules.insert(c::SYS_openat2, Vec::new());
    }
    // For reading only, and no link.
    let no_link = flag(c::O_NOFOLLOW);
    let reads = when(&[(2, Dword, MaskedEq(flag(WRITES) | no_link), no_link)])?;
    rules.insert(c::SYS_openat, vec![reads]);
    rules.insert(c::SYS_readlinkat, Vec::new());
    Ok(())
}

fn connector(rules: &mut Rules, reach: &Reach) -> Result<(), BackendError> {
    let Reach { resolves, finds_sockets, .. } = *reach;
    rules.extend(CONNECTOR.iter().map(|call| (*call, Vec::new())));
    // Closing a socket with SO_LINGER blocks until its peer responds, which would stall whoever receives it
    // from here.
    let no_lingering =
        [when(&[(1, Dword, Ne, flag(c::SOL_SOCKET))])?, when(&[(2, Dword, Ne, flag(c::SO_LINGER))])?];
    rules.insert(c::SYS_setsockopt, no_lingering.into());
    let mut sockets = Vec::new();
    let unix = reach.needs_unix_sockets().then_some(c::AF_UNIX);
    for family in [c::AF_INET, c::AF_INET6].into_iter().chain(unix) {
        sockets.push(socket(family, c::SOCK_STREAM)?);
        if resolves {
            sockets.push(socket(family, c::SOCK_DGRAM)?);
        }
    }
    if resolves {
        // The addresses of the system, which `getaddrinfo` uses for sorting.
        sockets.push(when(&[(0, Dword, Eq, flag(c::AF_NETLINK)), (2, Dword, Eq, flag(c::NETLINK_ROUTE))])?);
        resolver(rules)?;
    }
    if reach.needs_threads() {
        threads(rules)?;
    }
    if reach.hashes {
        // A thread lowers its own priority as far as it goes.
        let own = when(&[
            (0, Dword, Eq, c::PRIO_PROCESS.into()),
            (1, Dword, Eq, 0),
            (2, Dword, Eq, LOWEST_PRIORITY),
        ])?;
        rules.insert(c::SYS_setpriority, vec![own]);
    }
    rules.insert(c::SYS_socket, sockets);
    if finds_sockets {
        // Opens the directory and its sockets. Landlock denies reading anything.
        let place = flag(c::O_PATH);
        rules.entry(c::SYS_openat).or_default().push(when(&[(2, Dword, MaskedEq(place), place)])?);
    }
    Ok(())
}

fn resolver(rules: &mut Rules) -> Result<(), BackendError> {
    rules.extend(RESOLVER.iter().map(|call| (*call, Vec::new())));
    // For reading only.
    let writes = flag(WRITES);
    rules.insert(c::SYS_openat, vec![when(&[(2, Dword, MaskedEq(writes), 0)])?]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(c::SYS_open, vec![when(&[(1, Dword, MaskedEq(writes), 0)])?]);
    // Modules are libraries: their code is mapped from files, which this process can't write.
    let (code, writable) = (flag(c::PROT_EXEC), flag(c::PROT_WRITE));
    let from_file = when(&[
        (2, Qword, MaskedEq(code | writable), code),
        (3, Qword, MaskedEq(flag(c::MAP_ANONYMOUS)), 0),
    ])?;
    rules.entry(c::SYS_mmap).or_default().push(from_file);
    // Number of bytes that can be read.
    rules.entry(c::SYS_ioctl).or_default().push(when(&[(1, Dword, Eq, FIONREAD)])?);
    Ok(())
}

/// Threads but not processes, in no new namespace.
fn threads(rules: &mut Rules) -> Result<(), BackendError> {
    rules.extend(THREADS.iter().map(|call| (*call, Vec::new())));
    let thread = flag(c::CLONE_VM | c::CLONE_THREAD | c::CLONE_SIGHAND);
    let namespaces = flag(c::CLONE_NEWUSER | c::CLONE_NEWNS | c::CLONE_NEWNET | c::CLONE_NEWPID);
    rules.insert(c::SYS_clone, vec![when(&[(0, Qword, MaskedEq(thread | namespaces), thread)])?]);
    // A thread sets its own name.
    rules.insert(c::SYS_prctl, vec![when(&[(0, Dword, Eq, flag(c::PR_SET_NAME))])?]);
    // Reading a limit, as new threads do to find the size of their stack.
    rules.insert(c::SYS_prlimit64, vec![when(&[(2, Qword, Eq, 0)])?]);
    Ok(())
}

/// A socket of this family and type, with any flags.
fn socket(family: i32, kind: i32) -> Result<SeccompRule, BackendError> {
    const KIND: u64 = 0xf;
    when(&[(0, Dword, Eq, flag(family)), (1, Dword, MaskedEq(KIND), flag(kind))])
}

/// A rule that matches if all conditions hold: number and width of the argument, comparison, and value.
fn when(conditions: &[(u8, SeccompCmpArgLen, SeccompCmpOp, u64)]) -> Result<SeccompRule, BackendError> {
    let conditions = conditions
        .iter()
        .map(|(argument, width, comparison, value)| {
            SeccompCondition::new(*argument, width.clone(), comparison.clone(), *value)
        })
        .collect::<Result<_, _>>()?;
    SeccompRule::new(conditions)
}

/// Converts a constant of the C library, none of which is negative, to an argument of a system call.
fn flag(value: i32) -> u64 {
    u64::from(value.unsigned_abs())
}
