//! Runs a program of the administrator without privileges, and waits for its end.
//!
//! This process stays as its parent, as both may be alone in a PID namespace: a process 1 must reap orphans,
//! and it would ignore signals that it does not handle. Without such a namespace, this process adopts the
//! orphans, so that the supervisor recognises them as descendants, and kills them when the program or the
//! supervisor has ended.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use common::ipc::setup::RunAs;
use common::sys::{inherited, session};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::{family, sandbox};

/// The first argument is the user to change to (`UID:GID`, or `-` to keep the user). If the second is
/// `apart`, the program is isolated from other processes. The rest is the program with its arguments. Returns
/// the exit status of the program or, as shells do, 128 plus the signal that ended it.
///
/// # Errors
///
/// Fails if privileges can't be dropped, or if the program can't be started.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> io::Result<u8> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let run_as =
        arguments.next().and_then(|text| identity(&text)).ok_or_else(|| wrong("no user to become"))?;
    let apart = arguments.next().ok_or_else(|| wrong("no confinement"))? == "apart";
    let program = arguments.next().ok_or_else(|| wrong("no program to start"))?;
    let (stdin, stdout) = (inherited::take(0)?, inherited::take(1)?);
    sandbox::leave_other_processes(apart);
    sandbox::drop_privileges(run_as)?;
    if apart {
        sandbox::keep_program_apart();
    }
    // The kernel sends SIGTERM when the supervisor has ended. The signals are blocked so that none is missed. This
    // comes after the change of the user, which would have reset it.
    let ends = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM]);
    ends.thread_block()?;
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    prctl::set_child_subreaper(true)?;
    let started = start(&program, arguments, stdin, stdout);
    let child = started
        .map_err(|error| io::Error::new(error.kind(), format!("cannot execute {program:?}: {error}")))?;
    let code = wait_for(child, &ends);
    family::kill_rest();
    code
}

/// Starts the program. This process keeps none of its streams, so that their other ends notice when the
/// program closes them.
fn start(
    program: &OsStr,
    arguments: impl Iterator<Item = OsString>,
    stdin: OwnedFd,
    stdout: OwnedFd,
) -> io::Result<Pid> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout));
    session::end_with_parent(&mut command);
    let child = command.spawn()?;
    Ok(Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)))
}

/// Waits for the end of `child` or of the supervisor, and reaps orphans meanwhile.
fn wait_for(child: Pid, ends: &SigSet) -> io::Result<u8> {
    loop {
        let code = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => code,
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => 128 + signal as i32,
            Ok(WaitStatus::StillAlive) if ends.wait()? == Signal::SIGTERM => 128 + Signal::SIGTERM as i32,
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        return Ok(u8::try_from(code).unwrap_or(u8::MAX));
    }
}

/// Parses the user: `-` for none, or two numbers.
fn identity(text: &OsStr) -> Option<Option<RunAs>> {
    match text.to_str()? {
        "-" => Some(None),
        text => {
            let (uid, gid) = text.split_once(':')?;
            Some(Some(RunAs { uid: uid.parse().ok()?, gid: gid.parse().ok()? }))
        }
    }
}
