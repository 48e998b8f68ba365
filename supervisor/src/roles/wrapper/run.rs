//! One run of the wrapped program, managed by a wrapper process.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::config::Sandbox;
use common::ipc::channel::ChannelError;
use common::ipc::setup;
use common::ipc::wrapper::{ProgramEnd, SupervisorToWrapper, WrapperSetup, WrapperToSupervisor};
use common::role::RoleName;
use tokio::time::timeout;

use super::program::name;
use crate::os::network::{Network, within};
use crate::roles::peer::{Peer, Role};
use crate::roles::role_output::About;
use crate::roles::supervise::{self, First, Launch, StartError};

/// Time that a wrapper needs in addition to the program's grace period, for killing what is left and reading
/// the last output.
const WRAPPER_GRACE: Duration = Duration::from_secs(3);

/// A running program.
#[derive(Debug)]
pub(super) struct Run {
    wrapper: Role,
    /// When it was started.
    pub(super) began: Instant,
    /// Status and time of the end of its first process, if it has ended.
    pub(super) ended: Option<(ProgramEnd, Instant)>,
}

/// An event in a run.
#[derive(Debug)]
pub(super) enum Event {
    /// The first process has ended. Others may be left.
    Ended(ProgramEnd),
    /// No process is left.
    Gone,
}

impl Run {
    /// Starts the program and waits until execve(2) has succeeded. The error is the reason of a failure.
    pub(super) async fn begin(setup: &WrapperSetup, network: Option<&Network>) -> Result<Self, String> {
        let began = Instant::now();
        let role = supervise::start(&WrapperLaunch { setup, network }).await.map_err(|error| error.reason)?;
        Ok(Self::adopted(role, began, None))
    }

    /// Takes over a program that was started earlier.
    pub(super) fn adopted(wrapper: Role, began: Instant, ended: Option<(ProgramEnd, Instant)>) -> Self {
        Self { wrapper, began, ended }
    }

    /// The handle of its wrapper.
    pub(super) fn peer(&self) -> Rc<Peer> {
        self.wrapper.peer.clone()
    }

    /// Waits for the next event. This is cancellation-safe.
    pub(super) async fn next(&mut self) -> Event {
        match self.wrapper.peer.channel.receive().await {
            Ok(WrapperToSupervisor::Ended(end)) if self.ended.is_none() => return Event::Ended(end),
            // That is what an end looks like: all is said.
            Err(ChannelError::Closed) => {}
            _ => tracing::error!("killed the wrapper (pid {}): protocol violation", self.wrapper.process.pid),
        }
        self.wrapper.process.send_kill();
        let _ = self.wrapper.process.wait().await;
        Event::Gone
    }

    /// Ends the program. Its processes have `grace` before they are killed.
    pub(super) async fn stop(self, grace: Duration) {
        let Role { peer, mut process, .. } = self.wrapper;
        // The wrapper ends the program when its channel is closed.
        drop(peer);
        if timeout(grace + WRAPPER_GRACE, process.wait()).await.is_err() {
            tracing::error!("the wrapper (pid {}) hangs; killing it", process.pid);
            process.kill().await;
        }
    }
}

/// The specification of a wrapper.
struct WrapperLaunch<'a> {
    setup: &'a WrapperSetup,
    network: Option<&'a Network>,
}

impl Launch for WrapperLaunch<'_> {
    const NAME: RoleName = RoleName::Wrapper;

    /// Without a sandbox, as the program would inherit it.
    fn spawn(&self) -> io::Result<Role> {
        let about = About::Program(name(&self.setup.command));
        within(self.network, || Role::spawn(Self::NAME, Sandbox::Off, "the wrapper".into(), about))
    }

    async fn set_up(&self, peer: &Peer) -> Result<(), StartError> {
        Ok(peer.channel.send(&SupervisorToWrapper::Setup(setup::file(self.setup)?)).await?)
    }

    async fn first(&self, peer: &Peer) -> Result<First, StartError> {
        Ok(match peer.channel.receive().await? {
            WrapperToSupervisor::Started(_) => First::Unconfined,
            WrapperToSupervisor::NotStarted(why) => First::Failed(why),
            WrapperToSupervisor::Ended(_) => First::Failed("its wrapper sent an unexpected message".into()),
        })
    }
}
