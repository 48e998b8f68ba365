//! The one runtime of all roles: how a role is started, found ready, kept running, replaced and ended.
//!
//! What makes one role different from another stands in its [`Spec`].

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

/// How long a role may take from its start until it is ready, and to take what it is told later.
pub(crate) const START_DEADLINE: Duration = Duration::from_secs(10);

/// The shortest and the longest pause before a role that has died is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// A role that lived this long was in order: the next pause is the shortest again.
const HEALTHY: Duration = Duration::from_secs(30);

/// How long the end of a process may take that has closed its channel.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// How long a role that was replaced has for the answers that it owes.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Why a role could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{role}: {reason}")]
pub(crate) struct RoleError {
    pub(crate) role: RoleName,
    /// For humans: the role's own words, or the system's.
    pub(crate) reason: String,
}

/// Why the start of a role failed, before its name is put to it.
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

/// What a role says first.
pub(crate) enum First {
    /// It is ready, and confined so far.
    Ready(Level),
    /// It is ready. It is not confined, or says nothing about it.
    Unconfined,
    /// It can't work with what it was told.
    Failed(String),
}

/// How a role is started.
pub(crate) trait Launch {
    const NAME: RoleName;

    /// Judges how far the role is confined; none where that is of no interest.
    fn confinement(&self) -> Option<&Confinement> {
        None
    }

    /// Spawns its process.
    fn spawn(&self) -> std::io::Result<Role>;

    /// Tells it what it needs to become ready.
    async fn set_up(&self, peer: &Peer) -> Result<(), StartError>;

    /// Waits for its first message.
    async fn first(&self, peer: &Peer) -> Result<First, StartError>;

    /// Makes it known to others, now that it is ready.
    async fn introduce(&self, _: &Rc<Peer>) -> Result<(), StartError> {
        Ok(())
    }

    /// Forgets the process, whose start has failed at whatever step.
    fn give_up(&self) {}
}

/// A role that is kept running: what its messages mean, and what its death costs.
pub(crate) trait Spec: Launch + 'static {
    /// When it is pinged.
    const WATCH: Watch = Watch::Connections;
    /// What it says.
    type Up: Message;

    fn state(&self) -> &Rc<ServiceState>;

    /// Takes what it says while it serves.
    fn take(&self, peer: &Rc<Peer>, message: Self::Up) -> Result<(), Fault>;

    /// Pings it and waits for the answer.
    async fn ping(&self, peer: &Peer);

    /// Clears up behind it, now that its process has ended. Says what is lost with it, for the log; nothing if it was
    /// told to end.
    async fn bury(&self, _: &Rc<Peer>) -> Option<String> {
        Some(String::new())
    }

    /// Whether it is started again when it has ended.
    fn is_wanted(&self) -> bool;
}

/// Something that is started again when it ends: a role with a channel, by its [`Spec`], or a program of others.
pub(crate) trait Kept: 'static {
    type Running: 'static;

    /// Starts it and waits until it is ready.
    async fn start(&self) -> Result<Self::Running, RoleError>;

    /// Waits for its end and clears up behind it.
    async fn attend(&self, running: Self::Running) -> Option<Obituary>;

    /// Whether it is started again.
    fn is_wanted(&self) -> bool;
}

/// What is logged of a role that has ended.
pub(crate) struct Obituary {
    pub(crate) role: RoleName,
    pub(crate) title: String,
    pub(crate) pid: i32,
    /// Why and how it has ended.
    pub(crate) cause: String,
    /// What is lost with it, or nothing.
    pub(crate) loss: String,
}

/// What keeps a role running. The role ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    _task: JoinSet<()>,
}

impl Keeper {
    /// Keeps what is running, or is to be started, until it is no longer wanted.
    pub(crate) fn new<K: Kept>(kept: Rc<K>, running: Option<K::Running>) -> Self {
        let mut task = JoinSet::new();
        task.spawn_local(keep(kept, running));
        Self { _task: task }
    }

    /// Ends the role when it has had time for the answers that it owes.
    pub(crate) fn end_later(self) {
        spawn_local(async move {
            sleep(LAST_ANSWERS).await;
            drop(self);
        });
    }
}

async fn keep<K: Kept>(kept: Rc<K>, mut running: Option<K::Running>) {
    let mut pause = BACKOFF.0;
    loop {
        let since = Instant::now();
        if let Some(running) = running.take() {
            if let Some(obituary) = kept.attend(running).await {
                tell(&obituary, kept.is_wanted());
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

fn tell(Obituary { role, title, pid, cause, loss }: &Obituary, is_replaced: bool) {
    tracing::error!(
        message_id = message_id::ROLE_DIED,
        websockify_role = role.as_str(),
        websockify_worker_pid = pid,
        "{title} (pid {pid}) is gone ({cause}){loss}{}",
        if is_replaced { "; starting another" } else { "" },
    );
}

impl<S: Spec> Kept for S {
    type Running = Role;

    async fn start(&self) -> Result<Role, RoleError> {
        start(self).await
    }

    async fn attend(&self, role: Role) -> Option<Obituary> {
        let peer = role.peer.clone();
        let fault = serve(self, &peer).await;
        peer.set_gone();
        judge(self, &peer, &fault);
        let status = role.kill().await;
        let loss = self.bury(&peer).await;
        self.state().note_change();
        loss.filter(|_| !self.state().stopping.get()).map(|loss| Obituary {
            role: S::NAME,
            title: peer.title.clone(),
            pid: peer.pid,
            cause: match fault {
                // That is what an end looks like.
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
        // It has ended before it knew all. It may have said why.
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

/// How a role has ended that has closed its channel and did not say why.
async fn end_of(mut role: Role) -> String {
    let ended = timeout(END_DEADLINE, role.process.wait()).await;
    role.hear_last_words().await;
    match ended {
        Ok(status) => format!("it has ended before it was ready ({})", describe(status.ok())),
        Err(_) => "it is closed and does not end".into(),
    }
}

/// Listens to a role until it ends or must be ended; says why.
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
        // The fault that it is killed for comes before the end of its channel that follows.
        biased;
        fault = peer.condemned() => fault,
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

/// How a process has ended, for humans.
pub(crate) fn describe(status: Option<ExitStatus>) -> String {
    let Some(status) = status else { return "end unknown".into() };
    if status.signal() == Some(Signal::SIGSYS as i32) {
        return format!(
            "{status}: a filter of system calls, such as SystemCallFilter=, forbids one that it needs; the kernel's log \
             has its number, and with SystemCallErrorNumber=EPERM it may do without"
        );
    }
    status.to_string()
}
