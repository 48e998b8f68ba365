//! One run of the wrapped program: its wrapper process, from start to end.

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
use crate::roles::supervise::{self, First, Launch, StartError};
use crate::roles::voice::About;

/// What a wrapper needs beyond the program's grace period: it kills what is left, and reads the last output.
const WRAPPER_GRACE: Duration = Duration::from_secs(3);

/// A program that runs.
#[derive(Debug)]
pub(super) struct Run {
    wrapper: Role,
    /// When it was started.
    pub(super) began: Instant,
    /// How and when its first process has ended.
    pub(super) ended: Option<(ProgramEnd, Instant)>,
}

/// What happens to it.
#[derive(Debug)]
pub(super) enum Event {
    /// Its first process has ended; others may be left.
    Ended(ProgramEnd),
    /// None of its processes is left.
    Gone,
}

impl Run {
    /// Starts the program and waits until the system has taken it, or says why not.
    pub(super) async fn begin(setup: &WrapperSetup, network: Option<&Network>) -> Result<Self, String> {
        let began = Instant::now();
        let role = supervise::start(&WrapperLaunch { setup, network }).await.map_err(|error| error.reason)?;
        Ok(Self::adopted(role, began, None))
    }

    /// One that was started earlier.
    pub(super) fn adopted(wrapper: Role, began: Instant, ended: Option<(ProgramEnd, Instant)>) -> Self {
        Self { wrapper, began, ended }
    }

    /// Its wrapper, as others may know it.
    pub(super) fn peer(&self) -> Rc<Peer> {
        self.wrapper.peer.clone()
    }

    /// The next thing that happens. May be given up and called again.
    pub(super) async fn next(&mut self) -> Event {
        match self.wrapper.peer.channel.receive().await {
            Ok(WrapperToSupervisor::Ended(end)) if self.ended.is_none() => return Event::Ended(end),
            Err(ChannelError::Closed) => {}
            _ => {
                tracing::error!("killed the wrapper (pid {}): protocol violation", self.wrapper.process.pid);
                self.wrapper.process.send_kill();
            }
        }
        let _ = self.wrapper.process.wait().await;
        Event::Gone
    }

    /// Ends the program: its processes have `grace` until they are killed.
    pub(super) async fn stop(self, grace: Duration) {
        let Role { peer, mut process, .. } = self.wrapper;
        // The wrapper ends the program when its channel is closed.
        drop(peer);
        if timeout(grace + WRAPPER_GRACE, process.wait()).await.is_err() {
            tracing::error!("the wrapper (pid {}) hangs and is killed", process.pid);
            process.kill().await;
        }
    }
}

/// What is needed to start a wrapper.
struct WrapperLaunch<'a> {
    setup: &'a WrapperSetup,
    network: Option<&'a Network>,
}

impl Launch for WrapperLaunch<'_> {
    const NAME: RoleName = RoleName::Wrapper;

    /// Without a sandbox: the program inherits what its wrapper has.
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
            WrapperToSupervisor::Ended(_) => First::Failed("its wrapper speaks out of turn".into()),
        })
    }
}
