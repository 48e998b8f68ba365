//! The process of a role, and the handle that other parts of the supervisor have of it.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use common::config::Sandbox;
use common::ipc::ConnectionId;
use common::ipc::channel::{Channel, ChannelError};
use common::role::RoleName;
use common::sys::rehearsal::{Ended, rehearse};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use super::liveness::Pulse;
use super::role_output::{self, About, RoleOutput};
use crate::os::process::Process;
use crate::os::program;

/// Time limit for the last output of a role that has ended.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The reason why a role is ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Its channel is closed or broken.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The role has sent something that no correct role sends.
    #[error("protocol violation: {0}")]
    Violation(String),
    /// The role has not ended its sessions and itself in time.
    #[error("its time limit has expired")]
    Overtime,
    /// The role does not read or answer.
    #[error("it neither reads nor answers messages")]
    Hung,
}

impl Fault {
    /// An unexpected message.
    pub(crate) fn out_of_turn() -> Self {
        Self::Violation("an unexpected message".into())
    }

    /// A report about a connection that is not the gateway's.
    pub(crate) fn foreign(id: ConnectionId) -> Self {
        Self::Violation(format!("a report about connection {id}, which is not its own"))
    }

    /// A violation by a gateway that another role has reported.
    pub(crate) fn reported_by(by: RoleName, what: &str) -> Self {
        Self::Violation(format!("towards the {by}: {what}"))
    }

    /// Whether the fault suggests that the role is compromised.
    pub(crate) fn is_violation(&self) -> bool {
        matches!(self, Self::Violation(_) | Self::Channel(ChannelError::Violation(_)))
    }
}

/// The handle of a role. Its process belongs to its keeper.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Name of the role in log lines, such as "the connector".
    pub(crate) title: String,
    pub(crate) pid: i32,
    pub(crate) channel: Channel,
    /// Channel of its log lines.
    pub(crate) log: Rc<Channel>,
    /// The pipe from its standard error.
    pub(crate) errors: Rc<Receiver>,
    /// Its identity in the log.
    pub(crate) role_output: Rc<RoleOutput>,
    /// Answers to pings.
    pub(crate) pulse: Pulse,
    fault: RefCell<Option<Fault>>,
    faulty: Notify,
    gone: Cell<bool>,
}

impl Peer {
    /// Kills the process because of a fault. Its keeper then handles the fault and the end.
    pub(crate) fn kill_for_fault(&self, fault: Fault) {
        if self.gone.replace(true) {
            return;
        }
        self.fault.replace(Some(fault));
        // The process is an unreaped child of ours, so that its id is not reused.
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        self.faulty.notify_one();
    }

    /// Whether it has ended, or has been killed.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// Waits for the fault for which the role is killed.
    pub(super) async fn next_fault(&self) -> Fault {
        loop {
            if let Some(fault) = self.fault.borrow_mut().take() {
                return fault;
            }
            self.faulty.notified().await;
        }
    }

    /// Marks the role as ended or ending.
    pub(super) fn set_gone(&self) {
        self.gone.set(true);
    }
}

/// A role and its process, which is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Role {
    pub(crate) peer: Rc<Peer>,
    pub(crate) process: Process,
    /// The task that reads its standard error.
    last_words: JoinHandle<()>,
}

/// The supervisor's ends of the channels and pipes of a role.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) channel: OwnedFd,
    pub(crate) log: OwnedFd,
    pub(crate) errors: OwnedFd,
}

impl Role {
    /// Spawns `websockify-worker NAME`. Standard input is its channel, standard output its log, and standard
    /// error a pipe for the message of a panic. `about` determines what its log lines may refer to.
    ///
    /// The role has a process group of its own: an interrupt from the keyboard is for the supervisor, which ends
    /// sessions in an orderly way.
    pub(crate) fn spawn(name: RoleName, sandbox: Sandbox, title: String, about: About) -> io::Result<Self> {
        let (ours, theirs) = Channel::pair()?;
        let (log, their_log) = Channel::pair()?;
        let (errors, their_errors) = role_output::errors_pipe()?;
        let mut command = program::worker()?;
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.arg(name.as_str()).env_clear().current_dir("/");
        command.stdin(Stdio::from(blocking(theirs)?)).stdout(Stdio::from(their_log));
        command.stderr(Stdio::from(their_errors));
        let process = match sandbox {
            Sandbox::Off => Process::start(&mut command)?,
            Sandbox::BestEffort | Sandbox::Strict => in_own_pid_namespace(|| Process::start(&mut command))?,
        };
        // Drop our copy of the pipe's other end, or we would never see its end.
        drop(command);
        Self::new(name, title, process, Channel::new(ours)?, log, errors, about)
    }

    /// Takes over a running process.
    pub(crate) fn adopt(
        name: RoleName,
        title: String,
        process: Process,
        Ends { channel, log, errors }: Ends,
        about: About,
    ) -> io::Result<Self> {
        Self::new(name, title, process, Channel::adopted(channel)?, log, errors, about)
    }

    fn new(
        name: RoleName,
        title: String,
        process: Process,
        channel: Channel,
        log: OwnedFd,
        errors: OwnedFd,
        about: About,
    ) -> io::Result<Self> {
        let log = Rc::new(Channel::new(log)?);
        let errors = Rc::new(Receiver::from_owned_fd(errors)?);
        let role_output = RoleOutput::new(name, title.strip_prefix("the ").unwrap_or(&title), about);
        let peer = Rc::new(Peer {
            title,
            pid: process.pid,
            channel,
            log: log.clone(),
            errors: errors.clone(),
            role_output: role_output.clone(),
            pulse: Pulse::default(),
            fault: RefCell::default(),
            faulty: Notify::new(),
            gone: Cell::new(false),
        });
        spawn_local(role_output.clone().hear_lines(log, Rc::downgrade(&peer)));
        let last_words = spawn_local(role_output.hear_errors(errors, Rc::downgrade(&peer)));
        Ok(Self { peer, process, last_words })
    }

    /// Kills the process, waits for its end, and logs its last output.
    pub(super) async fn kill(self) -> Option<ExitStatus> {
        let Self { peer, process, last_words } = self;
        let status = process.kill().await;
        hear_last_words(&peer, last_words).await;
        status
    }

    /// Logs the last output of a process that has ended.
    pub(super) async fn hear_last_words(self) {
        hear_last_words(&self.peer, self.last_words).await;
    }
}

/// Logs the last output of a process that has ended, before the line about its end.
async fn hear_last_words(peer: &Peer, errors: JoinHandle<()>) {
    peer.role_output.take_last_lines(&peer.log);
    let _ = timeout(LAST_WORDS, errors).await;
}

/// Spawns a process in a PID namespace of its own, if possible: it can't even name other processes. For us it
/// remains a normal child.
pub(super) fn in_own_pid_namespace<T>(spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    static MAY: OnceLock<bool> = OnceLock::new();
    // Entering and leaving a namespace need different privileges, and a seccomp filter may kill for either.
    let may = || matches!(rehearse(|| there_and_back(|| ()).map_or(1, |()| 0)), Ok(Ended::With(0)));
    if !*MAY.get_or_init(may) {
        return spawn();
    }
    // This applies to our next child. Its descendants share its namespace.
    there_and_back(spawn)?
}

fn there_and_back<T>(action: impl FnOnce() -> T) -> io::Result<T> {
    let ours = File::open("/proc/self/ns/pid")?;
    unshare(CloneFlags::CLONE_NEWPID)?;
    let done = action();
    setns(ours, CloneFlags::CLONE_NEWPID)?;
    Ok(done)
}

/// Makes a descriptor blocking: roles read their setup with blocking calls before they start an event loop.
fn blocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&fd, false)?;
    Ok(fd)
}
