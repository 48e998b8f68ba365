//! One run of the wrapped program: its wrapper process, from start to end.

use std::time::{Duration, Instant};

use common::config::Sandbox;
use common::ipc::channel::ChannelError;
use common::ipc::setup;
use common::ipc::wrapper::{ProgramEnd, SupervisorToWrapper, WrapperSetup, WrapperToSupervisor};
use tokio::time::timeout;

use super::{Network, within};
use crate::roles::role::{self, Handle, Role};

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
        let role =
            within(network, || Role::start("wrapper", Sandbox::Off)).map_err(|error| error.to_string())?;
        let started = async {
            let setup = setup::file(setup)?;
            role.channel.send(&SupervisorToWrapper::Setup(setup)).await?;
            role.channel.receive::<WrapperToSupervisor>().await
        };
        match timeout(role::START_DEADLINE, started).await {
            Ok(Ok(WrapperToSupervisor::Started(_))) => Ok(Self::adopted(role, began, None)),
            Ok(Ok(WrapperToSupervisor::NotStarted(why))) => Err(why),
            Ok(Ok(WrapperToSupervisor::Ended(_))) => Err("its wrapper speaks out of turn".into()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("not started in time".into()),
        }
    }

    /// One that was started earlier.
    pub(super) fn adopted(wrapper: Role, began: Instant, ended: Option<(ProgramEnd, Instant)>) -> Self {
        Self { wrapper, began, ended }
    }

    /// What others may know of its wrapper.
    pub(super) fn handle(&self) -> Handle {
        self.wrapper.handle()
    }

    /// The next thing that happens. May be given up and called again.
    pub(super) async fn next(&mut self) -> Event {
        match self.wrapper.channel.receive().await {
            Ok(WrapperToSupervisor::Ended(end)) => return Event::Ended(end),
            Ok(WrapperToSupervisor::Started(_) | WrapperToSupervisor::NotStarted(_)) => {
                unreachable!("the channel accepts it once")
            }
            // Whoever waits for its process sees that end.
            Err(ChannelError::Closed) => {}
            Err(error) => {
                let pid = self.wrapper.process.pid;
                tracing::error!(target: "websockify::wrap", "killed the wrapper (pid {pid}): {error}");
                self.wrapper.process.send_kill();
            }
        }
        let _ = self.wrapper.process.wait().await;
        Event::Gone
    }

    /// Ends the program: its processes have `grace` until they are killed.
    pub(super) async fn stop(self, grace: Duration) {
        let Role { channel, mut process, .. } = self.wrapper;
        drop(channel);
        if timeout(grace + WRAPPER_GRACE, process.wait()).await.is_err() {
            tracing::error!(target: "websockify::wrap", "the wrapper (pid {}) hangs and is killed", process.pid);
            process.kill().await;
        }
    }
}
