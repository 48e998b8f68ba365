//! The life cycle of the wrapped program.

use std::collections::BTreeSet;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::config::WrapMode;
use common::ipc::wrapper::{ProgramEnd, ProgramState};
use common::log::Escaped;
use tokio::task::spawn_local;
use tokio::time::{interval, sleep};

use super::listening::{self, Listener};
use super::phase::Phase;
use super::program::{Kept, Program, WrapError};
use super::run::{Event, Run};
use crate::os::network::within;

/// Interval of checks whether the program listens, initially and after some time.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LAST_LOOK: Duration = Duration::from_millis(200);

/// Interval of checks whether a program in the background still listens.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The next step.
pub(super) enum Next {
    /// Follow a run.
    Attend(Run),
    /// Start the program after a pause.
    Start(Duration),
    /// Wait for the order to stop.
    Wait,
}

/// How a run is over.
enum Over {
    /// We end it.
    Stopped,
    /// The program has ended by itself.
    Ended(ProgramEnd),
}

/// Whether processes of a run are left.
#[derive(PartialEq, Eq)]
enum Left {
    Some,
    None,
}

impl Program {
    /// Starts the program for the first time, and keeps it running in a task.
    pub(crate) async fn start(self: &Rc<Self>) -> Result<(), WrapError> {
        let first = self.begin().await?;
        self.kept.send_replace(Kept::Running);
        spawn_local(self.clone().keep(Next::Attend(first)));
        Ok(())
    }

    /// Follows the program, run after run, until it is over.
    pub(super) async fn keep(self: Rc<Self>, mut next: Next) {
        let kept = loop {
            next = match next {
                Next::Attend(run) => {
                    let began = run.began;
                    let over = self.wait_for_end(run).await;
                    self.state.send_replace(ProgramState::Away);
                    match (over, self.wrap.mode) {
                        (Over::Stopped, _) => break Kept::Stopped,
                        (Over::Ended(end), WrapMode::Exit) => break Kept::Ended(end),
                        (Over::Ended(_), WrapMode::Ignore) => Next::Wait,
                        (Over::Ended(_), WrapMode::Respawn) => Next::Start(self.pause_after(began.elapsed())),
                    }
                }
                Next::Start(pause) => {
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.stop.notified() => break Kept::Stopped,
                    }
                    match self.begin().await {
                        Ok(run) => Next::Attend(run),
                        Err(error) => {
                            tracing::error!("{error}");
                            Next::Start(self.pause_after(Duration::ZERO))
                        }
                    }
                }
                Next::Wait => {
                    self.stop.notified().await;
                    break Kept::Stopped;
                }
            };
        };
        self.kept.send_replace(kept);
    }

    /// Starts the program once.
    pub(super) async fn begin(&self) -> Result<Run, WrapError> {
        tracing::info!("Starting '{}'", Escaped(&self.wrap.shown()));
        self.state.send_replace(ProgramState::Starting);
        self.phase.replace(Phase::Changing);
        let started = Run::begin(&self.setup, self.network.as_deref()).await;
        started.map_err(|reason| {
            self.phase.replace(Phase::Idle);
            self.state.send_replace(ProgramState::Away);
            WrapError::Start { program: self.name(), reason }
        })
    }

    /// Returns the pause after a run of this length. Clients wait meanwhile, unless the program ends too
    /// often.
    fn pause_after(&self, lived: Duration) -> Duration {
        let mut respawn = self.respawn.borrow_mut();
        let pause = respawn.pause(&self.name(), lived, self.served.take());
        let state = if respawn.flaps() { ProgramState::Away } else { ProgramState::Starting };
        self.state.send_replace(state);
        pause
    }

    /// Follows a run until none of its processes is left.
    async fn wait_for_end(&self, mut run: Run) -> Over {
        self.phase.replace(Phase::Runs { wrapper: run.peer(), began: run.began, ended: run.ended });
        let (over, left) = self.follow(&mut run).await;
        self.phase.replace(Phase::Changing);
        if left == Left::Some {
            run.stop(self.setup.grace).await;
        }
        self.phase.replace(Phase::Idle);
        over
    }

    async fn follow(&self, run: &mut Run) -> (Over, Left) {
        let mut listening = pin!(self.watch_listening(run.began));
        let mut looks = interval(LOOK_INTERVAL);
        loop {
            tokio::select! {
                () = &mut listening => {}
                () = self.stop.notified() => return (Over::Stopped, Left::Some),
                event = run.next() => match event {
                    Event::Ended(end) => {
                        self.tell_end(end);
                        run.ended = Some((end, Instant::now()));
                        if let Phase::Runs { ended, .. } = &mut *self.phase.borrow_mut() {
                            *ended = run.ended;
                        }
                        if self.wrap.mode == WrapMode::Exit {
                            return (Over::Ended(end), Left::Some);
                        }
                    }
                    Event::Gone => {
                        let name = self.name();
                        tracing::debug!("no process of {name} is left");
                        // A wrapper that was killed can't report the status.
                        let end = run.ended.map_or(ProgramEnd::Killed(9), |(end, _)| end);
                        return (Over::Ended(end), Left::None);
                    }
                },
                // The program may have gone to the background. It is left alone as long as it listens.
                _ = looks.tick(), if self.wrap.mode == WrapMode::Respawn && self.port.is_some() => {
                    if let Some((end, at)) = run.ended {
                        let starting = *self.state.borrow() == ProgramState::Starting;
                        let awaited = starting && at.elapsed() < self.wrap.start_timeout;
                        if !awaited && !matches!(self.listening(), Ok(Some(_))) {
                            return (Over::Ended(end), Left::Some);
                        }
                    }
                }
            }
        }
    }

    /// Polls until the program, which runs since `began`, listens, and logs when that takes too long.
    async fn watch_listening(&self, began: Instant) {
        let Some(port) = &self.port else { return self.let_target_come(began).await };
        let mut pause = FIRST_LOOK;
        let mut strangers = BTreeSet::new();
        loop {
            match self.listening() {
                Ok(Some(found)) if self.uid == 0 || found.uid == self.uid => {
                    self.state.send_replace(ProgramState::Listening(found.address));
                    tracing::debug!("{} listens on {}", self.name(), found.address);
                    return std::future::pending().await;
                }
                Ok(Some(Listener { uid, .. })) => {
                    if strangers.insert(uid) {
                        tracing::error!(
                            "user {uid} listens on port {}, which is reserved for {}: its clients have to wait",
                            port.number(),
                            self.name(),
                        );
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(
                        "cannot detect when {} listens, clients may be refused at first: {error}",
                        self.name(),
                    );
                    self.state.send_replace(ProgramState::Listening(port.address()));
                    return std::future::pending().await;
                }
            }
            if began.elapsed() >= self.wrap.start_timeout && *self.state.borrow() == ProgramState::Starting {
                tracing::error!(
                    "{} did not bind {} within {} s; it may be statically linked or setuid",
                    self.name(),
                    self.old_port,
                    self.wrap.start_timeout.as_secs_f64(),
                );
                self.state.send_replace(ProgramState::Away);
            }
            sleep(pause).await;
            pause = LAST_LOOK.min(pause * 2);
        }
    }

    /// Lets clients wait for the target that the program is started for, up to the time limit.
    async fn let_target_come(&self, began: Instant) {
        sleep(self.wrap.start_timeout.saturating_sub(began.elapsed())).await;
        self.state.send_replace(ProgramState::Away);
        std::future::pending().await
    }

    /// The socket that listens on the port.
    fn listening(&self) -> io::Result<Option<Listener>> {
        let Some(port) = &self.port else { return Ok(None) };
        within(self.network.as_deref(), || listening::on(port.number()))
    }

    fn tell_end(&self, end: ProgramEnd) {
        let name = self.name();
        let how = match end {
            ProgramEnd::Exited(status) => format!("exit status {status}"),
            ProgramEnd::Killed(signal) => format!("signal {signal}"),
        };
        tracing::info!("{name} has ended ({how})");
    }
}
