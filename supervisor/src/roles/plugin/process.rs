//! The process of a plugin: start, output and end.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ExitStatus, Stdio};
use std::rc::{Rc, Weak};
use std::time::Duration;

use common::config::Sandbox;
use common::ipc::setup::RunAs;
use common::role::RoleName;
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Pid, pipe2};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::Command;
use crate::os::process::Process;
use crate::os::{environment, program};
use crate::roles::peer::in_own_pid_namespace;
use crate::roles::role_output::{About, RoleOutput};

/// Environment variables that a program inherits: for finding other programs, for its language, and for
/// Python to find modules.
const ENVIRONMENT: [&str; 9] =
    ["PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV"];

/// Variable with the source of the plugin. Unlike an argument, it is not visible to other users.
const SOURCE: &str = "WEBSOCKIFY_PLUGIN_SOURCE";

/// The program that loads Python classes written for the original.
const FOR_PYTHON: &str = "websockify-plugin-python";

/// Time limit for loading a class. The original has none, but service managers do.
const LOAD_DEADLINE: Duration = Duration::from_secs(60);

/// Time limit for the last output of a program that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A running program with all of its descendants. They are killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running(Process);

impl Running {
    /// Takes over a program that an earlier image has started, until its generation ends.
    pub(crate) fn adopt(pid: i32) -> io::Result<Self> {
        Process::adopt(pid).map(Self)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.0.pid
    }

    /// Waits for its end.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await.map(of_program)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if the group is gone.
        let _ = killpg(Pid::from_raw(self.0.pid), Signal::SIGKILL);
    }
}

/// Converts the exit status of the parent process, which reports signals like a shell, to that of the
/// program.
fn of_program(status: ExitStatus) -> ExitStatus {
    match status.code() {
        Some(code) if code > 128 => ExitStatus::from_raw(code - 128),
        _ => status,
    }
}

/// A program that has been started and may not be ready yet.
pub(super) struct Started {
    running: Running,
    socket: UnixStream,
    errors: JoinHandle<()>,
    role_output: Rc<RoleOutput>,
}

/// Starts `command` for the plugin `name`.
pub(super) fn start(
    name: &str,
    command: &Command,
    source: Option<&str>,
    run_as: Option<RunAs>,
    sandbox: Sandbox,
) -> io::Result<Started> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let (errors, their_errors) = pipe2(OFlag::O_CLOEXEC)?;
    // The program may reopen it as /dev/stderr.
    fchmod(&their_errors, Mode::from_bits_truncate(0o622))?;
    let mut starts = program::worker()?;
    starts.arg(RoleName::Plugin.as_str()).arg(identity(run_as));
    starts.arg(if sandbox == Sandbox::Off { "off" } else { "apart" });
    starts.env_clear().current_dir(program::first_directory()).process_group(0);
    match command {
        Command::Program(path) => {
            starts.arg(path);
            starts.envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
            starts.envs(source.map(|source| (SOURCE, source)));
            starts.stdin(Stdio::from(OwnedFd::from(theirs.try_clone()?)));
        }
        Command::Class(class) => {
            starts.arg(program::shipped(FOR_PYTHON)?).arg(class);
            starts.envs(std::env::vars_os().filter(|(name, _)| !environment::is_ours(name)));
            starts.stdin(Stdio::from(piped(serde_json::to_vec(&source)?)?));
        }
    }
    starts.stdout(Stdio::from(OwnedFd::from(theirs))).stderr(Stdio::from(their_errors));
    let process = match sandbox {
        Sandbox::Off => Process::start(&mut starts)?,
        Sandbox::BestEffort | Sandbox::Strict => in_own_pid_namespace(|| Process::start(&mut starts))?,
    };
    let role_output = RoleOutput::new(RoleName::Plugin, name, About::Itself);
    let errors = Rc::new(Receiver::from_owned_fd(errors)?);
    let errors = spawn_local(role_output.clone().hear_errors(errors, Weak::new()));
    // Drop our copy of the pipe's other end, or we would never see its end.
    drop(starts);
    Ok(Started { running: Running(process), socket: ours, errors, role_output })
}

impl Started {
    /// Returns a program that needs no time to load, with our end of its socket.
    pub(super) fn at_once(self) -> (Running, OwnedFd) {
        (self.running, self.socket.into())
    }

    /// Waits until a class is loaded.
    ///
    /// # Errors
    ///
    /// The last line of its output, such as an exception, or an error of the system.
    pub(super) async fn loaded(self) -> Result<(Running, OwnedFd), String> {
        let Self { mut running, socket, errors, role_output } = self;
        match timeout(LOAD_DEADLINE, first_byte(socket)).await {
            Ok(Ok(socket)) => Ok((running, socket)),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let ended = timeout(LAST_WORDS, async {
                    let status = running.wait().await;
                    // The task ends with the pipe.
                    let _ = errors.await;
                    status
                });
                let status = ended.await.ok().and_then(Result::ok);
                let said = role_output.last_error();
                Err(if said.is_empty() { crate::roles::supervise::describe(status) } else { said })
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it was not loaded in time".into()),
        }
    }
}

/// Waits for the byte by which a class reports that it is loaded.
async fn first_byte(socket: UnixStream) -> io::Result<OwnedFd> {
    let socket = tokio::net::UnixStream::from_std(socket)?;
    loop {
        socket.readable().await?;
        match socket.try_read(&mut [0]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(socket.into_std()?.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Returns the read end of a pipe that contains `text`.
fn piped(text: Vec<u8>) -> io::Result<OwnedFd> {
    let text = Zeroizing::new(text);
    let (theirs, ours) = pipe2(OFlag::O_CLOEXEC)?;
    let mut ours = Sender::from_owned_fd(ours)?;
    spawn_local(async move {
        // Fails if the process has ended.
        let _ = ours.write_all(&text).await;
    });
    Ok(theirs)
}

/// The user of the program as an argument.
fn identity(run_as: Option<RunAs>) -> String {
    run_as.map_or_else(|| "-".to_owned(), |RunAs { uid, gid }| format!("{uid}:{gid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_reported_as_one() {
        let of = |code: i32| of_program(ExitStatus::from_raw(code << 8));
        assert_eq!((of(0).code(), of(1).code(), of(128).code()), (Some(0), Some(1), Some(128)));
        assert_eq!(of(128 + 6).signal(), Some(6));
        assert_eq!(of_program(ExitStatus::from_raw(9)).signal(), Some(9));
    }
}
