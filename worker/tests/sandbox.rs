//! Enters the complete sandbox of each role in a process of its own, and tries operations that must fail,
//! that must succeed, and that must kill the process.
//!
//! System calls are made by number, as a library would reject some arguments before the kernel sees them.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, Output};

use common::config::Sandbox;
use common::fault;
use common::ipc::level::Level;
use common::ipc::setup::RunAs;
use libc as c;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::net::{AddressFamily, SocketType};
use worker::beneath::{Beneath, Lookup};
use worker::sandbox::{self, Ports, Profile, Reach};

const ROLES: [&str; 11] = [
    "gateway",
    "web",
    "walker",
    "connector",
    "hasher",
    "resolver",
    "any",
    "finder",
    "signer",
    "echo",
    "exporter",
];
const NONE: &[&str] = &[];
const GATEWAYS: &[&str] = &["gateway", "web", "walker"];
const ASKS: &[&str] = &["gateway", "web", "walker", "resolver", "any"];
const DIALS: &[&str] = &["connector", "hasher", "resolver", "any", "finder"];
const THREADS: &[&str] = &["hasher", "resolver", "any"];
const RESOLVES: &[&str] = &["resolver", "any"];
/// Roles that connect to paths, and roles that resolve names where that requires a daemon.
const PATHS: &[&str] = &["any", "finder"];
const FINDS: &[&str] = &["resolver", "any", "finder"];

/// Number and arguments of a system call.
type Call = (i64, [i64; 6]);

/// Makes a system call. Pointers among its arguments refer to memory that lives as long as the process, or
/// are invalid.
fn call((number, a): Call) -> Result<i64, i32> {
    // SAFETY: the calls of this test read at most the content of `Prepared`, write to none of it, and unmap
    // and protect only memory that mmap below has created.
    let result = unsafe { c::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) };
    if result >= 0 { Ok(result) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) }
}

/// Resources that are opened before the sandbox is entered.
struct Prepared {
    directory: tempfile::TempDir,
    web: Beneath,
    walker: Beneath,
    file: OwnedFd,
    fresh: OwnedFd,
    listener: TcpListener,
    page: i64,
}

impl Prepared {
    fn new() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let web = directory.path().join("web");
        fs::create_dir(&web)?;
        fs::write(web.join("inside"), "inside")?;
        fs::write(directory.path().join("outside"), "outside")?;
        let page = (c::SYS_mmap, [0, 4096, 3, i64::from(c::MAP_PRIVATE | c::MAP_ANONYMOUS), -1, 0]);
        Ok(Self {
            file: File::open(web.join("inside"))?.into(),
            walker: Beneath::by(Lookup::Walk, File::open(&web)?.into()),
            web: Beneath::by(Lookup::Kernel, File::open(&web)?.into()),
            fresh: rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?,
            listener: TcpListener::bind("127.0.0.1:0")?,
            page: call(page).map_err(io::Error::from_raw_os_error)?,
            directory,
        })
    }

    fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    fn enter(&self, role: &str) -> io::Result<Level> {
        let none = Reach {
            ports: Ports::Only(Vec::new()),
            resolves: false,
            connects_by_path: false,
            hashes: false,
            finds_sockets: false,
        };
        let connector = Reach { ports: Ports::Only(vec![self.port()?]), ..none.clone() };
        let hasher = Reach { hashes: true, ..connector.clone() };
        let resolver = Reach { resolves: true, ..connector.clone() };
        let any = Reach { ports: Ports::Any, resolves: true, connects_by_path: true, ..none.clone() };
        let finder = Reach { finds_sockets: true, ..none };
        let profile = match role {
            "gateway" => Profile::Gateway { web_root: None, records: false },
            "web" => Profile::Gateway { web_root: Some(&self.web), records: false },
            "walker" => Profile::Gateway { web_root: Some(&self.walker), records: false },
            "connector" => Profile::Connector(&connector),
            "hasher" => Profile::Connector(&hasher),
            "resolver" => Profile::Connector(&resolver),
            "any" => Profile::Connector(&any),
            "finder" => Profile::Connector(&finder),
            "signer" => Profile::Signer,
            "exporter" => Profile::Exporter,
            _ => Profile::Echo,
        };
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            let nobody = Some(nix::unistd::Uid::from_raw(65534));
            nix::unistd::chown(self.directory.path(), nobody, None)?;
        }
        sandbox::enter(profile, is_root.then_some(RunAs { uid: 65534, gid: 65534 }), Sandbox::Strict)
    }
}

/// The expected result.
#[derive(Debug, PartialEq)]
enum Want {
    /// Anything but a denial.
    Works,
    /// The call fails with this error.
    Fails(i32),
    /// Landlock denies it, or it does not exist as the root directory is empty.
    OutOfReach,
}

fn leak(text: &str) -> i64 {
    let terminated: &'static [u8] = format!("{text}\0").into_bytes().leak();
    terminated.as_ptr() as i64
}

/// An IPv4 address for connect(2) and bind(2).
fn loopback(port: u16) -> i64 {
    let mut bytes = vec![0; 16];
    bytes[..2].copy_from_slice(&u16::try_from(c::AF_INET).unwrap_or(0).to_ne_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    bytes[4..8].copy_from_slice(&[127, 0, 0, 1]);
    bytes.leak().as_ptr() as i64
}

/// Each call with its name, and the roles in which it succeeds. In other roles it fails with `EPERM`.
fn calls(p: &Prepared) -> Vec<(&'static str, Call, &'static [&'static str])> {
    let unix = if sandbox::names_need_unix_sockets() { FINDS } else { PATHS };
    let [web, file, fresh, listener] =
        [p.web.as_fd().as_raw_fd(), p.file.as_raw_fd(), p.fresh.as_raw_fd(), p.listener.as_raw_fd()]
            .map(i64::from);
    let i = i64::from;
    let (here, no_link) = (i(c::AT_FDCWD), i(c::O_NOFOLLOW));
    let (passwd, null, inside) = (leak("/etc/passwd"), leak("/dev/null"), leak("inside"));
    let port = p.port().unwrap_or(0);
    let (read_exec, read_write_exec) =
        (i(c::PROT_READ | c::PROT_EXEC), i(c::PROT_READ | c::PROT_WRITE | c::PROT_EXEC));
    let (private, anonymous) = (i(c::MAP_PRIVATE), i(c::MAP_PRIVATE | c::MAP_ANONYMOUS));
    let how: &'static [u64; 3] = Box::leak(Box::new([i(c::O_PATH).unsigned_abs(), 0, 8]));
    let pid = i64::from(std::process::id());
    let all: &'static [&'static str] = &ROLES;
    let mut calls = vec![
        ("socket inet stream", (c::SYS_socket, [i(c::AF_INET), i(c::SOCK_STREAM), 0, 0, 0, 0]), DIALS),
        ("socket inet6 stream", (c::SYS_socket, [i(c::AF_INET6), i(c::SOCK_STREAM), 0, 0, 0, 0]), DIALS),
        ("socket unix stream", (c::SYS_socket, [i(c::AF_UNIX), i(c::SOCK_STREAM), 0, 0, 0, 0]), unix),
        ("socket unix seqpacket", (c::SYS_socket, [i(c::AF_UNIX), i(c::SOCK_SEQPACKET), 0, 0, 0, 0]), NONE),
        ("socket inet dgram", (c::SYS_socket, [i(c::AF_INET), i(c::SOCK_DGRAM), 0, 0, 0, 0]), RESOLVES),
        ("socket inet raw", (c::SYS_socket, [i(c::AF_INET), i(c::SOCK_RAW), 1, 0, 0, 0]), NONE),
        ("socket route", (c::SYS_socket, [i(c::AF_NETLINK), i(c::SOCK_RAW), 0, 0, 0, 0]), RESOLVES),
        ("socket audit", (c::SYS_socket, [i(c::AF_NETLINK), i(c::SOCK_RAW), 9, 0, 0, 0]), NONE),
        ("socket packet", (c::SYS_socket, [i(c::AF_PACKET), i(c::SOCK_RAW), 0, 0, 0, 0]), NONE),
        ("socket alg", (c::SYS_socket, [i(c::AF_ALG), i(c::SOCK_SEQPACKET), 0, 0, 0, 0]), NONE),
        ("socket vsock", (c::SYS_socket, [i(c::AF_VSOCK), i(c::SOCK_STREAM), 0, 0, 0, 0]), NONE),
        ("socketpair", (c::SYS_socketpair, [i(c::AF_UNIX), i(c::SOCK_STREAM), 0, 0, 0, 0]), NONE),
        ("setsockopt", (c::SYS_setsockopt, [fresh, 0, 0, 0, 0, 0]), DIALS),
        (
            "setsockopt lingering",
            (c::SYS_setsockopt, [fresh, i(c::SOL_SOCKET), i(c::SO_LINGER), 0, 0, 0]),
            NONE,
        ),
        ("listen", (c::SYS_listen, [fresh, 1, 0, 0, 0, 0]), NONE),
        ("accept", (c::SYS_accept, [listener, 0, 0, 0, 0, 0]), NONE),
        ("accept4", (c::SYS_accept4, [file, 0, 0, 0, 0, 0]), &["echo", "exporter"]),
        // Without a socket. The permitted ports are tested below.
        ("connect", (c::SYS_connect, [-1, loopback(port), 16, 0, 0, 0]), DIALS),
        ("sendmsg", (c::SYS_sendmsg, [fresh, 0, 0, 0, 0, 0]), DIALS),
        ("sendmmsg", (c::SYS_sendmmsg, [fresh, 0, 1, 0, 0, 0]), RESOLVES),
        ("sendto", (c::SYS_sendto, [file, 0, 0, 0, 0, 0]), all),
        ("openat", (c::SYS_openat, [here, passwd, 0, 0, 0, 0]), RESOLVES),
        ("openat for writing", (c::SYS_openat, [here, null, i(c::O_WRONLY), 0, 0, 0]), NONE),
        ("openat for both", (c::SYS_openat, [here, null, i(c::O_RDWR), 0, 0, 0]), NONE),
        ("openat creating", (c::SYS_openat, [here, null, i(c::O_CREAT), 0, 0, 0]), NONE),
        ("openat of a place", (c::SYS_openat, [here, leak("/"), i(c::O_PATH), 0, 0, 0]), FINDS),
        // In no directory. The permitted files are tested below.
        (
            "openat of no link",
            (c::SYS_openat, [-1, inside, no_link, 0, 0, 0]),
            &["web", "walker", "resolver", "any"],
        ),
        (
            "openat of no link for writing",
            (c::SYS_openat, [-1, inside, no_link | i(c::O_WRONLY), 0, 0, 0]),
            NONE,
        ),
        ("openat2", (c::SYS_openat2, [web, inside, how.as_ptr() as i64, 24, 0, 0]), &["web"]),
        ("newfstatat", (c::SYS_newfstatat, [here, passwd, 0, 0, 0, 0]), RESOLVES),
        ("statx", (c::SYS_statx, [here, passwd, 0, 0, 0, 0]), RESOLVES),
        (
            "readlinkat",
            (c::SYS_readlinkat, [here, passwd, 0, 0, 0, 0]),
            &["web", "walker", "resolver", "any"],
        ),
        ("getdents64", (c::SYS_getdents64, [file, 0, 0, 0, 0, 0]), &["web", "walker", "resolver", "any"]),
        ("unlinkat", (c::SYS_unlinkat, [here, leak("/nothing"), 0, 0, 0, 0]), NONE),
        ("mkdirat", (c::SYS_mkdirat, [here, leak("/nothing"), 0, 0, 0, 0]), NONE),
        ("mknodat", (c::SYS_mknodat, [here, leak("/nothing"), 0, 0, 0, 0]), NONE),
        ("symlinkat", (c::SYS_symlinkat, [inside, here, leak("/nothing"), 0, 0, 0]), NONE),
        ("fchmod", (c::SYS_fchmod, [file, 0, 0, 0, 0, 0]), NONE),
        ("fchown", (c::SYS_fchown, [file, -1, -1, 0, 0, 0]), NONE),
        ("ftruncate", (c::SYS_ftruncate, [file, 0, 0, 0, 0, 0]), NONE),
        ("chdir", (c::SYS_chdir, [leak("/"), 0, 0, 0, 0, 0]), NONE),
        ("memfd_create", (c::SYS_memfd_create, [inside, 0, 0, 0, 0, 0]), NONE),
        ("clone of a process", (c::SYS_clone, [i(c::SIGCHLD), 0, 0, 0, 0, 0]), NONE),
        ("kill", (c::SYS_kill, [1, 0, 0, 0, 0, 0]), NONE),
        ("kill of itself", (c::SYS_kill, [pid, 0, 0, 0, 0, 0]), NONE),
        ("tgkill of another", (c::SYS_tgkill, [pid + 1, pid + 1, 0, 0, 0, 0]), NONE),
        ("tgkill of itself", (c::SYS_tgkill, [pid, pid, 0, 0, 0, 0]), all),
        ("pidfd_open", (c::SYS_pidfd_open, [pid, 0, 0, 0, 0, 0]), NONE),
        ("mmap executable", (c::SYS_mmap, [0, 4096, read_exec, anonymous, -1, 0]), NONE),
        ("mmap all rights", (c::SYS_mmap, [0, 4096, read_write_exec, anonymous, -1, 0]), NONE),
        ("mmap code of a file", (c::SYS_mmap, [0, 4096, read_exec, private, file, 0]), RESOLVES),
        ("mmap code to change", (c::SYS_mmap, [0, 4096, read_write_exec, private, file, 0]), NONE),
        ("mprotect executable", (c::SYS_mprotect, [p.page, 4096, read_exec, 0, 0, 0]), NONE),
        ("mprotect to read", (c::SYS_mprotect, [p.page, 4096, i(c::PROT_READ), 0, 0, 0]), all),
        ("pkey_mprotect", (c::SYS_pkey_mprotect, [p.page, 4096, read_exec, -1, 0, 0]), NONE),
        ("ioctl TIOCSTI", (c::SYS_ioctl, [2, 0x5412, inside, 0, 0, 0]), NONE),
        ("ioctl FIONBIO", (c::SYS_ioctl, [fresh, 0x5421, how.as_ptr() as i64, 0, 0, 0]), all),
        ("ioctl FIONREAD", (c::SYS_ioctl, [fresh, 0x541b, 0, 0, 0, 0]), ASKS),
        ("ioctl TIOCOUTQ", (c::SYS_ioctl, [fresh, 0x5411, 0, 0, 0, 0]), GATEWAYS),
        ("fcntl F_GETFD", (c::SYS_fcntl, [file, i(c::F_GETFD), 0, 0, 0, 0]), all),
        // A channel without space is watched by a copy of its descriptor.
        ("fcntl F_DUPFD_CLOEXEC", (c::SYS_fcntl, [file, i(c::F_DUPFD_CLOEXEC), 0, 0, 0, 0]), all),
        ("fcntl F_SETOWN", (c::SYS_fcntl, [file, i(c::F_SETOWN), pid, 0, 0, 0]), NONE),
        ("fcntl F_ADD_SEALS", (c::SYS_fcntl, [file, i(c::F_ADD_SEALS), 0, 0, 0, 0]), NONE),
        ("prctl PR_SET_DUMPABLE", (c::SYS_prctl, [i(c::PR_SET_DUMPABLE), 1, 0, 0, 0, 0]), NONE),
        ("prctl PR_SET_NAME", (c::SYS_prctl, [i(c::PR_SET_NAME), inside, 0, 0, 0, 0]), THREADS),
        ("seccomp", (c::SYS_seccomp, [2, 0, 0, 0, 0, 0]), NONE),
        ("prlimit64 reading", (c::SYS_prlimit64, [0, 7, 0, 0, 0, 0]), THREADS),
        ("prlimit64 writing", (c::SYS_prlimit64, [0, 7, how.as_ptr() as i64, 0, 0, 0]), NONE),
        ("setpriority", (c::SYS_setpriority, [0, 0, 0, 0, 0, 0]), NONE),
        ("setpriority of another", (c::SYS_setpriority, [0, 1, 19, 0, 0, 0]), NONE),
        ("setpriority to the lowest", (c::SYS_setpriority, [0, 0, 19, 0, 0, 0]), &["hasher"]),
        ("shmget", (c::SYS_shmget, [0, 4096, 0o600, 0, 0, 0]), NONE),
        ("mq_open", (c::SYS_mq_open, [inside, 0, 0, 0, 0, 0]), NONE),
        ("inotify_init1", (c::SYS_inotify_init1, [0; 6]), NONE),
        ("uname", (c::SYS_uname, [0; 6]), NONE),
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        ("open", (c::SYS_open, [passwd, 0, 0, 0, 0, 0]), RESOLVES),
        ("stat", (c::SYS_stat, [passwd, 0, 0, 0, 0, 0]), RESOLVES),
        ("getpid of x32", (0x4000_0000 + c::SYS_getpid, [0; 6]), NONE),
    ]);
    calls
}

/// Each call with its name, the role in which it is tried, and the expected result. These require Landlock.
fn reach(p: &Prepared) -> Vec<(&'static str, Call, &'static str, Want)> {
    let web = i64::from(p.web.as_fd().as_raw_fd());
    let here = i64::from(c::AT_FDCWD);
    let read: &'static [u64; 3] = Box::leak(Box::new([0; 3]));
    let write: &'static [u64; 3] = Box::leak(Box::new([1, 0, 0]));
    let (read, write) = (read.as_ptr() as i64, write.as_ptr() as i64);
    let refused = || Want::Fails(c::EACCES);
    let open = |directory, path, how| (c::SYS_openat2, [directory, leak(path), how, 24, 0, 0]);
    let no_link = i64::from(c::O_NOFOLLOW);
    let step = |directory, path| (c::SYS_openat, [directory, leak(path), no_link, 0, 0, 0]);
    let port = p.port().unwrap_or(0);
    let other = i64::from(p.fresh.as_raw_fd());
    vec![
        ("a file of the web directory", open(web, "inside", read), "web", Want::Works),
        ("the same to write", open(web, "inside", write), "web", refused()),
        ("a file beside the web directory", open(web, "../outside", read), "web", refused()),
        ("any file", open(here, "/etc/passwd", read), "web", Want::OutOfReach),
        ("its own memory", open(here, "/proc/self/mem", read), "web", Want::OutOfReach),
        ("a file of the web directory by steps", step(web, "inside"), "web", Want::Works),
        ("a file beside the web directory by steps", step(web, "../outside"), "web", refused()),
        ("any file by steps", step(here, "/etc/passwd"), "web", Want::OutOfReach),
        ("a file of the web directory", step(web, "inside"), "walker", Want::Works),
        ("a file beside the web directory", step(web, "../outside"), "walker", refused()),
        ("any file", step(here, "/etc/passwd"), "walker", Want::OutOfReach),
        ("its own memory", step(here, "/proc/self/mem"), "walker", Want::OutOfReach),
        ("hosts", (c::SYS_openat, [here, leak("/etc/hosts"), 0, 0, 0, 0]), "resolver", Want::Works),
        ("proc", (c::SYS_openat, [here, leak("/proc/version"), 0, 0, 0, 0]), "resolver", refused()),
        ("root's directory", (c::SYS_openat, [here, leak("/root"), 0, 0, 0, 0]), "resolver", refused()),
        ("binding", (c::SYS_bind, [other, loopback(0), 16, 0, 0, 0]), "resolver", refused()),
        ("binding for tokens", (c::SYS_bind, [other, loopback(0), 16, 0, 0, 0]), "any", refused()),
        ("any port", (c::SYS_connect, [other, loopback(port ^ 1), 16, 0, 0, 0]), "any", Want::Works),
        ("a file for tokens", (c::SYS_openat, [here, leak("/root"), 0, 0, 0, 0]), "any", refused()),
        ("a port", (c::SYS_connect, [other, loopback(port), 16, 0, 0, 0]), "finder", refused()),
        ("reading what is found", step(web, "inside"), "finder", Want::Fails(c::EPERM)),
        ("reading anything", step(here, "/etc/passwd"), "finder", Want::Fails(c::EPERM)),
        ("another port", (c::SYS_connect, [other, loopback(port ^ 1), 16, 0, 0, 0]), "connector", refused()),
        (
            "the target's port",
            (c::SYS_connect, [other, loopback(port), 16, 0, 0, 0]),
            "connector",
            Want::Works,
        ),
    ]
}

/// Calls that kill the process.
fn fatal() -> Vec<(&'static str, i64)> {
    let mut calls = vec![
        ("execve", c::SYS_execve),
        ("execveat", c::SYS_execveat),
        ("ptrace", c::SYS_ptrace),
        ("process_vm_readv", c::SYS_process_vm_readv),
        ("process_vm_writev", c::SYS_process_vm_writev),
        ("pidfd_getfd", c::SYS_pidfd_getfd),
        ("setuid", c::SYS_setuid),
        ("setresuid", c::SYS_setresuid),
        ("setgroups", c::SYS_setgroups),
        ("unshare", c::SYS_unshare),
        ("setns", c::SYS_setns),
        ("chroot", c::SYS_chroot),
        ("pivot_root", c::SYS_pivot_root),
        ("mount", c::SYS_mount),
        ("open_by_handle_at", c::SYS_open_by_handle_at),
        ("bpf", c::SYS_bpf),
        ("userfaultfd", c::SYS_userfaultfd),
        ("io_uring_setup", c::SYS_io_uring_setup),
        ("perf_event_open", c::SYS_perf_event_open),
        ("keyctl", c::SYS_keyctl),
        ("add_key", c::SYS_add_key),
        ("init_module", c::SYS_init_module),
        ("kexec_load", c::SYS_kexec_load),
        ("reboot", c::SYS_reboot),
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([("fork", c::SYS_fork), ("vfork", c::SYS_vfork)]);
    calls
}

/// Tries all calls that do not kill the process. Returns what went wrong.
fn try_calls(role: &str) -> io::Result<Vec<String>> {
    let prepared = Prepared::new()?;
    let (calls, reach) = (calls(&prepared), reach(&prepared));
    let level = prepared.enter(role)?;
    let mut wrong = Vec::new();
    if !level.seccomp || !level.no_privileges {
        wrong.push(format!("{role} has only reached: {level}"));
    }
    let mut expect = |name: &str, what: Call, want: Want| {
        let answer = call(what);
        let is_right = match want {
            Want::Works => !matches!(answer, Err(c::EPERM | c::EACCES | c::ENOSYS)),
            Want::Fails(error) => answer == Err(error),
            Want::OutOfReach => matches!(answer, Err(c::EACCES | c::ENOENT)),
        };
        if !is_right {
            wrong.push(format!("{role}: {name} gave {answer:?}, wanted {want:?}"));
        }
    };
    for (name, what, roles) in calls {
        let want = if roles.contains(&role) { Want::Works } else { Want::Fails(c::EPERM) };
        expect(name, what, want);
    }
    // Where threads are permitted, the C library falls back to clone(2).
    let no_threads = if THREADS.contains(&role) { c::ENOSYS } else { c::EPERM };
    expect("clone3", (c::SYS_clone3, [0; 6]), Want::Fails(no_threads));
    if level.landlock >= 4 {
        for (name, what, _, want) in reach.into_iter().filter(|(_, _, tried, _)| *tried == role) {
            expect(name, what, want);
        }
    }
    // The directory can't be removed from within the sandbox.
    std::mem::forget(prepared);
    Ok(wrong)
}

fn child(role: &str, what: &str) -> io::Result<Vec<String>> {
    if what == "calls" {
        return try_calls(role);
    }
    let prepared = std::mem::ManuallyDrop::new(Prepared::new()?);
    prepared.enter(role)?;
    match fatal().into_iter().find(|(name, _)| *name == what) {
        Some((_, number)) => {
            let answer = call((number, [-1; 6]));
            Ok(vec![format!("{role}: {what} gave {answer:?} and did not end the process")])
        }
        None => {
            fault::end_process(|line| eprintln!("{line}"));
            panic!("last words")
        }
    }
}

/// Runs the probe like a role: as the first process of a PID namespace, if possible. The kernel treats
/// signals to such a process differently.
fn run(role: &str, what: &str, directory: &Path) -> io::Result<Output> {
    let ours = File::open("/proc/self/ns/pid")?;
    let is_apart = unshare(CloneFlags::CLONE_NEWPID).is_ok();
    // Files that the child can't remove are removed with this directory.
    let output =
        Command::new(std::env::current_exe()?).args(["probe", role, what]).env("TMPDIR", directory).output();
    if is_apart {
        setns(ours, CloneFlags::CLONE_NEWPID)?;
    }
    output
}

fn check(role: &str, directory: &Path) -> io::Result<Vec<String>> {
    let tried = run(role, "calls", directory)?;
    let mut wrong: Vec<String> = String::from_utf8_lossy(&tried.stderr).lines().map(Into::into).collect();
    if !tried.status.success() && wrong.is_empty() {
        wrong.push(format!("{role}: {}", tried.status));
    }
    for (name, _) in fatal() {
        let status = run(role, name, directory)?.status;
        if status.signal() != Some(c::SIGSYS) {
            wrong.push(format!("{role}: {name} ended with {status}, not SIGSYS"));
        }
    }
    let fault = run(role, "fault", directory)?;
    if fault.status.signal().is_none() || !String::from_utf8_lossy(&fault.stderr).contains("last words") {
        wrong.push(format!("{role}: a fault ended with {fault:?}"));
    }
    Ok(wrong)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let wrong = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, "probe", role, what] => child(role, what),
        _ => all(),
    };
    let wrong = wrong.unwrap_or_else(|error| vec![error.to_string()]);
    for line in &wrong {
        eprintln!("{line}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn all() -> io::Result<Vec<String>> {
    let directory = tempfile::tempdir()?;
    let mut wrong = Vec::new();
    for role in ROLES {
        wrong.extend(check(role, directory.path())?);
    }
    if wrong.is_empty() {
        eprintln!("{} roles tried", ROLES.len());
    }
    Ok(wrong)
}
