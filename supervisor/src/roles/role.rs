//! Starting and ending the processes of the other roles.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use common::config::Sandbox;
use common::ipc::channel::Channel;
use common::ipc::log::LogMessage;
use nix::sched::{CloneFlags, setns, unshare};
use tokio::task::spawn_local;

use crate::os::log;
use crate::os::process::Process;
use crate::os::program;

/// How long a role may take from its start until it says that it is ready.
pub(crate) const START_DEADLINE: Duration = Duration::from_secs(10);

/// The shortest and the longest pause before a role that has died is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// A role that lived this long was in order: the next pause is the shortest again.
const HEALTHY: Duration = Duration::from_secs(30);

/// Another role: its process, and the channel to it.
#[derive(Debug)]
pub(crate) struct Role {
    /// The channel; the process ends when it is closed.
    pub(crate) channel: Rc<Channel>,
    /// Where its log comes from.
    pub(crate) log: Rc<Channel>,
    /// The process.
    pub(crate) process: Process,
}

/// What is known about a role whose process somebody else keeps.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    /// The process.
    pub(crate) pid: i32,
    /// The channel to it.
    pub(crate) channel: Rc<Channel>,
    /// Where its log comes from.
    pub(crate) log: Rc<Channel>,
}

impl Role {
    /// Starts `websockify-worker NAME` with nothing but its channel as standard input, its log as
    /// standard output, and our standard error for the last words of a panic.
    ///
    /// It gets a process group of its own: an interrupt from the keyboard is for the supervisor,
    /// which then ends sessions in good order.
    pub(crate) fn start(name: &'static str, sandbox: Sandbox) -> io::Result<Self> {
        let (ours, theirs) = Channel::pair()?;
        let (log, their_log) = Channel::pair()?;
        let mut command = program::worker()?;
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.arg(name).env_clear().current_dir("/");
        command.stdin(Stdio::from(blocking(theirs)?)).stdout(Stdio::from(their_log));
        let process = match sandbox {
            Sandbox::Off => Process::start(name, &mut command)?,
            Sandbox::BestEffort | Sandbox::Strict => apart(|| Process::start(name, &mut command))?,
        };
        Ok(Self::adopt(name, process, Channel::new(ours)?, Channel::new(log)?))
    }

    /// Takes on a role that runs.
    pub(crate) fn adopt(name: &'static str, process: Process, channel: Channel, log: Channel) -> Self {
        let log = Rc::new(log);
        spawn_local(forward_log(name, log.clone()));
        Self { channel: Rc::new(channel), log, process }
    }

    /// What others may know of it.
    pub(crate) fn handle(&self) -> Handle {
        Handle { pid: self.process.pid, channel: self.channel.clone(), log: self.log.clone() }
    }
}

/// Starts a process as the only one of a PID namespace of its own, if we may: it can't even name others.
/// We see and kill it as ever.
fn apart<T>(spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Ok(ours) = File::open("/proc/self/ns/pid") else { return spawn() };
    if unshare(CloneFlags::CLONE_NEWPID).is_err() {
        return spawn();
    }
    // That was for our next child; those that follow it get namespaces of their own.
    let spawned = spawn();
    setns(ours, CloneFlags::CLONE_NEWPID)?;
    spawned
}

/// Roles read their channel with blocking calls until they know enough to start an event loop.
fn blocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&fd, false)?;
    Ok(fd)
}

/// Passes the log lines of a role on until it ends.
async fn forward_log(role: &'static str, channel: Rc<Channel>) {
    // An end that breaks protocol has nothing more to say that could be believed.
    while let Ok(LogMessage::Lines(lines)) = channel.receive().await {
        log::role_lines(role, &lines);
    }
}

/// The pause before a role that dies again and again is started once more.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    /// Starts with the shortest pause.
    pub(crate) fn new() -> Self {
        Self(BACKOFF.0)
    }

    /// Waits, given how long the role lived; longer each time that it died early.
    pub(crate) async fn pause(&mut self, lived: Duration) {
        if lived >= HEALTHY {
            self.0 = BACKOFF.0;
        }
        tokio::time::sleep(self.0).await;
        self.0 = BACKOFF.1.min(self.0 * 2);
    }
}

/// How a process has ended, for humans.
pub(crate) fn describe(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "end unknown".into(), |status| status.to_string())
}
