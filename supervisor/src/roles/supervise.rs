//! The runtime of all roles: how a role is started, becomes ready, is kept running, replaced and ended.
//!
//! Its [`Spec`] describes in what a role differs from others.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::ipc::channel::ChannelError;
use common::ipc::level::Level;
use common::ipc::table::Message;
use common::log::Escaped;
use common::role::RoleName;
use nix::sys::signal::Signal;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, timeout};

use super::confinement::Confinement;
use super::liveness::{self, Watch};
use super::peer::{Fault, Peer, Role};
use super::setup::Outdated;
use crate::os::log::message_id;
use crate::state::service::ServiceState;

/// Time limit for a role to become ready, and for it to read later messages.
pub(crate) const START_DEADLINE: Duration = Duration::from_secs(10);

/// Minimum and maximum pause before a role that has died is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// Lifetime after which a role counts as healthy, so that the next pause is the minimum again.
const HEALTHY: Duration = Duration::from_secs(30);

/// Time limit for the end of a process that has closed its channel.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// Time for a replaced role to send the answers that it owes.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// The reason why a role could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{role}: {reason}")]
pub(crate) struct RoleError {
    pub(crate) role: RoleName,
    /// Reason for the administrator, from the role or from the system.
    pub(crate) reason: String,
}

/// The reason why a step of a start has failed, without the name of the role.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Outdated(#[from] Outdated),
    #[error("{0}")]
    Failed(String),
}

/// The first message of a role.
pub(crate) enum First {
    /// The role is ready, with this level of confinement.
    Ready(Level),
    /// The role is ready, and is not confined or does not report its level.
    Unconfined,
    /// The role can't work with its setup.
    Failed(String),
}

/// How a role is started.
pub(crate) trait Launch {
    const NAME: RoleName;

    /// The requirements for the confinement of the role, if it is confined.
    fn confinement(&self) -> Option<&Confinement> {
        None
    }

    /// Spawns the process.
    fn spawn(&self) -> std::io::Result<Role>;

    /// Sends the setup.
    async fn set_up(&self, peer: &Peer) -> Result<(), StartError>;

    /// Receives the first message.
    async fn first(&self, peer: &Peer) -> Result<First, StartError>;

    /// Introduces the ready role to others.
    async fn introduce(&self, _: &Rc<Peer>) -> Result<(), StartError> {
        Ok(())
    }

    /// Forgets the process, whose start has failed at some step.
    fn give_up(&self) {}
}

/// A role that is kept running: the meaning of its messages, and the consequences of its death.
pub(crate) trait Spec: Launch + 'static {
    /// When the role is pinged.
    const WATCH: Watch = Watch::Connections;
    /// Messages of the role.
    type Up: Message;

    fn state(&self) -> &Rc<ServiceState>;

    /// Handles a message of the serving role.
    fn take(&self, peer: &Rc<Peer>, message: Self::Up) -> Result<(), Fault>;

    /// Pings the role and waits for the answer.
    async fn ping(&self, peer: &Peer);

    /// Cleans up after the process has ended. Returns a description of the loss, for the log, or `None`
    /// if the role was ordered to end.
    async fn clean_up(&self, _: &Rc<Peer>) -> Option<String> {
        Some(String::new())
    }

    /// Whether the role is started again after its end.
    fn is_wanted(&self) -> bool;
}

/// Something that is restarted when it ends: a role with a channel, or a program of the administrator.
pub(crate) trait Kept: 'static {
    type Running: 'static;

    /// Starts it and waits until it is ready.
    async fn start(&self) -> Result<Self::Running, RoleError>;

    /// Waits for its end and cleans up.
    async fn wait_for_end(&self, running: Self::Running) -> Option<EndReport>;

    /// Whether it is started again.
    fn is_wanted(&self) -> bool;
}

/// The log entry about a role that has ended.
pub(crate) struct EndReport {
    pub(crate) role: RoleName,
    pub(crate) title: String,
    pub(crate) pid: i32,
    /// Reason and status of the end.
    pub(crate) cause: String,
    /// Description of the loss; may be empty.
    pub(crate) loss: String,
}

/// Keeps a role running. The role ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    _task: JoinSet<()>,
}

impl Keeper {
    /// Keeps `running`, or a new start, alive until it is no longer wanted.
    pub(crate) fn new<K: Kept>(kept: Rc<K>, running: Option<K::Running>) -> Self {
        let mut task = JoinSet::new();
        task.spawn_local(keep(kept, running));
        Self { _task: task }
    }

    /// Ends the role after it has had time for the answers that it owes. `needed` is kept until then.
    pub(crate) fn end_later(self, needed: impl Sized + 'static) {
        spawn_local(async move {
            sleep(LAST_ANSWERS).await;
            drop((self, needed));
        });
    }
}

async fn keep<K: Kept>(kept: Rc<K>, mut running: Option<K::Running>) {
    let mut pause = BACKOFF.0;
    loop {
        let since = Instant::now();
        if let Some(running) = running.take() {
            if let Some(report) = kept.wait_for_end(running).await {
                log_end(&report, kept.is_wanted());
            }
        } else {
            match kept.start().await {
                Ok(started) => {
                    running = Some(started);
                    continue;
                }
                Err(_) if !kept.is_wanted() => {}
                Err(error) => tracing::error!("{error}; trying again"),
            }
        }
        if !kept.is_wanted() {
            return;
        }
        if since.elapsed() >= HEALTHY {
            pause = BACKOFF.0;
        }
        sleep(pause).await;
        pause = BACKOFF.1.min(pause * 2);
        if !kept.is_wanted() {
            return;
        }
    }
}

fn log_end(EndReport { role, title, pid, cause, loss }: &EndReport, is_replaced: bool) {
    tracing::error!(
        message_id = message_id::ROLE_DIED,
        websockify_role = role.as_str(),
        websockify_worker_pid = pid,
        "{title} (pid {pid}) has ended ({cause}){loss}{}",
        if is_replaced { "; starting another" } else { "" },
    );
}

impl<S: Spec> Kept for S {
    type Running = Role;

    async fn start(&self) -> Result<Role, RoleError> {
        start(self).await
    }

    async fn wait_for_end(&self, role: Role) -> Option<EndReport> {
        let peer = role.peer.clone();
        let fault = serve(self, &peer).await;
        peer.set_gone();
        judge(self, &peer, &fault);
        let status = role.kill().await;
        let loss = self.clean_up(&peer).await;
        self.state().note_change();
        loss.filter(|_| !self.state().stopping.get()).map(|loss| EndReport {
            role: S::NAME,
            title: peer.title.clone(),
            pid: peer.pid,
            cause: match fault {
                // The usual form of an end.
                Fault::Channel(ChannelError::Closed) => describe(status),
                fault => format!("{fault}; {}", describe(status)),
            },
            loss,
        })
    }

    fn is_wanted(&self) -> bool {
        Spec::is_wanted(self)
    }
}

/// Starts a role and waits until it is ready.
pub(crate) async fn start<S: Launch>(spec: &S) -> Result<Role, RoleError> {
    let failed = |reason: String| RoleError { role: S::NAME, reason };
    let role = spec.spawn().map_err(|error| failed(error.to_string()))?;
    let reason = match timeout(START_DEADLINE, prepare(spec, &role.peer)).await {
        Ok(Ok(())) => return Ok(role),
        Ok(Err(StartError::Channel(ChannelError::Closed))) => end_of(role).await,
        Ok(Err(error)) => {
            role.kill().await;
            error.to_string()
        }
        Err(_) => {
            role.kill().await;
            "not ready in time".into()
        }
    };
    spec.give_up();
    Err(failed(reason))
}

async fn prepare<S: Launch>(spec: &S, peer: &Rc<Peer>) -> Result<(), StartError> {
    match spec.set_up(peer).await {
        // The role has ended during its setup. It may have sent a reason.
        Ok(()) | Err(StartError::Channel(ChannelError::Closed)) => {}
        Err(error) => return Err(error),
    }
    match spec.first(peer).await? {
        First::Ready(level) => {
            spec.confinement().map_or(Ok(()), |one| one.admit(level)).map_err(StartError::Failed)?;
        }
        First::Unconfined => {}
        First::Failed(reason) => return Err(StartError::Failed(Escaped(&reason).to_string())),
    }
    spec.introduce(peer).await
}

/// Describes the end of a role that has closed its channel without giving a reason.
async fn end_of(mut role: Role) -> String {
    let ended = timeout(END_DEADLINE, role.process.wait()).await;
    role.hear_last_words().await;
    match ended {
        Ok(status) => format!("it ended before it was ready ({})", describe(status.ok())),
        Err(_) => "it has closed its channel but does not end".into(),
    }
}

/// Listens to a role until it ends or has to be ended. Returns the reason.
async fn serve<S: Spec>(spec: &S, peer: &Rc<Peer>) -> Fault {
    let heard = async {
        loop {
            let taken = match peer.channel.receive().await {
                Ok(message) => spec.take(peer, message),
                Err(error) => Err(error.into()),
            };
            if let Err(fault) = taken {
                return fault;
            }
        }
    };
    let hangs = liveness::until_silent(spec.state(), S::WATCH, async || spec.ping(peer).await);
    tokio::select! {
        // A fault for which the role is killed takes precedence over the end of its channel, which follows.
        biased;
        fault = peer.next_fault() => fault,
        fault = heard => fault,
        () = hangs => Fault::Hung,
    }
}

/// Logs and counts a fault for which a role is killed.
fn judge<S: Spec>(spec: &S, peer: &Peer, fault: &Fault) {
    let what = if fault.is_violation() {
        let violations = &spec.state().counters.violations;
        violations.set(violations.get() + 1);
        format!("killed {} (pid {}): {}", peer.title, peer.pid, Escaped(&fault.to_string()))
    } else if matches!(fault, Fault::Hung) {
        format!("{} (pid {}) hangs", peer.title, peer.pid)
    } else {
        return;
    };
    tracing::error!(
        message_id = message_id::ROLE_KILLED,
        websockify_role = S::NAME.as_str(),
        websockify_worker_pid = peer.pid,
        "{what}"
    );
}

/// Describes how a process has ended.
pub(crate) fn describe(status: Option<ExitStatus>) -> String {
    let Some(status) = status else { return "end unknown".into() };
    if status.signal() == Some(Signal::SIGSYS as i32) {
        return format!(
            "{status}: a system call filter, such as SystemCallFilter=, forbids a call that it needs; the kernel's log \
             has the number of the call. It may work without it if SystemCallErrorNumber=EPERM is set"
        );
    }
    status.to_string()
}
