//! The wrapper: starts the wrapped program, forwards its output to the log, and ensures that none of its
//! processes outlives the service.
//!
//! The wrapper runs as the program's user, so that it can end the program's processes without privileges. It adopts
//! orphans (prctl(2), `PR_SET_CHILD_SUBREAPER`), so that it still knows a program that goes to the
//! background. It is not confined, as the program would inherit that.

mod identity;
mod output;

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use common::ipc::channel::Channel;
use common::ipc::setup;
use common::ipc::wrapper::{ProgramEnd, SupervisorToWrapper, WrapperSetup, WrapperToSupervisor};
use common::sys::session;
use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, chdir, pipe2};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::{family, role};

/// Runs the role until no process of the program is left, or until the supervisor closes the channel, which
/// ends the program.
///
/// # Errors
///
/// Fails if the supervisor breaks protocol, or if a system call fails.
pub fn run(control: OwnedFd, log: OwnedFd) -> io::Result<()> {
    role::run(async {
        let supervisor = Channel::new(control)?;
        let Ok(SupervisorToWrapper::Setup(file)) = supervisor.receive().await else {
            return Err(role::unexpected("no setup"));
        };
        let setup: WrapperSetup = setup::read(file)?;
        let log = role::log_to(log, false);
        prctl::set_child_subreaper(true)?;
        let mut children = signal(SignalKind::child())?;
        match start(&setup) {
            Ok((pid, output)) => {
                let mut output = spawn_local(output::forward(output));
                let started = WrapperToSupervisor::Started(pid.as_raw());
                // If the supervisor is gone, that is noticed below.
                let _ = supervisor.send(&started).await;
                let stopped = loop {
                    if reap(pid, &supervisor).await == Left::None {
                        break false;
                    }
                    tokio::select! {
                        _ = children.recv() => {}
                        // The supervisor sends no more messages: this is the end of the channel.
                        _ = supervisor.receive::<SupervisorToWrapper>() => break true,
                    }
                };
                if stopped {
                    family::end(setup.grace).await;
                }
                // The last output is still in the pipe.
                let _ = timeout(output::LAST_WORDS, &mut output).await;
            }
            Err(error) => _ = supervisor.send(&WrapperToSupervisor::NotStarted(error)).await,
        }
        log.flush();
        Ok(())
    })
}

/// Whether a process of the program is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Some,
    None,
}

/// Starts the program. Returns its process id and the pipe with its output.
fn start(setup: &WrapperSetup) -> Result<(Pid, OwnedFd), String> {
    let Some((program, arguments)) = setup.command.split_first() else {
        return Err("there is no command".into());
    };
    identity::assume(setup).map_err(|error| format!("cannot become the program's user: {error}"))?;
    enter(setup)?;
    let (output, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(setup.environment.iter().map(|(name, value)| (name, value)));
    let errors = theirs.try_clone().map_err(|error| error.to_string())?;
    command.stdin(Stdio::null()).stdout(Stdio::from(theirs)).stderr(Stdio::from(errors));
    session::lead(&mut command);
    let child = command.spawn().map_err(|error| error.to_string())?;
    let pid = i32::try_from(child.id()).map_err(|_| "its process id is out of range".to_owned())?;
    Ok((Pid::from_raw(pid), output))
}

/// Enters the first directory that can be entered.
fn enter(setup: &WrapperSetup) -> Result<(), String> {
    let mut refused = String::new();
    for directory in &setup.directories {
        match chdir(directory) {
            Ok(()) => return Ok(()),
            Err(errno) => refused = format!("cannot enter {}: {}", directory.display(), errno.desc()),
        }
    }
    Err(refused)
}

/// Reaps children, and reports the end of `program`.
async fn reap(program: Pid, supervisor: &Channel) -> Left {
    loop {
        let end = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == program => {
                ProgramEnd::Exited(u8::try_from(status & 0xff).unwrap_or(u8::MAX))
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => {
                ProgramEnd::Killed(u8::try_from(signal as i32).expect("signals have small numbers"))
            }
            Ok(WaitStatus::StillAlive) => return Left::Some,
            Ok(_) | Err(nix::errno::Errno::EINTR) => continue,
            Err(_) => return Left::None,
        };
        // If the supervisor is gone, that is noticed elsewhere.
        let _ = supervisor.send(&WrapperToSupervisor::Ended(end)).await;
    }
}
