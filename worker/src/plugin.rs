//! Starts a program of the administrator without any privilege, and waits for its end.
//!
//! We stay as its parent, for it may be the only process of a namespace beside us: somebody must be process 1
//! there, wait for what it leaves behind, and leave signals to it as it knows them. Without such a namespace what it
//! leaves behind stays ours too, so that the supervisor can tell it from others.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use common::ipc::setup::RunAs;
use common::sys::{inherited, session};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::sandbox;

/// Becomes the user that the first argument names (`UID:GID`, or `-` to stay who we are), keeps the program apart from
/// other processes if the second one is `apart`, and runs the others. Gives the exit code of the program, or as
/// shells do 128 and the signal that has ended it.
///
/// # Errors
///
/// When privileges can't be given up, or the program can't be started.
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
    // It must not outlive who answers for it. Changing the user would have undone this.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    prctl::set_child_subreaper(true)?;
    let started = start(&program, arguments, stdin, stdout);
    let child = started
        .map_err(|error| io::Error::new(error.kind(), format!("cannot execute {program:?}: {error}")))?;
    wait_for(child)
}

/// Nothing of its streams stays with us, so that their other ends see when it closes them.
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

/// Waits for the end of `child`, and meanwhile for what it leaves behind.
fn wait_for(child: Pid) -> io::Result<u8> {
    loop {
        let code = match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => code,
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => 128 + signal as i32,
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        return Ok(u8::try_from(code).unwrap_or(u8::MAX));
    }
}

/// Nothing is wrong with staying who we are; anything else must be two numbers.
fn identity(text: &OsStr) -> Option<Option<RunAs>> {
    match text.to_str()? {
        "-" => Some(None),
        text => {
            let (uid, gid) = text.split_once(':')?;
            Some(Some(RunAs { uid: uid.parse().ok()?, gid: gid.parse().ok()? }))
        }
    }
}
