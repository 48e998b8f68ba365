//! The exporter: shows metrics, and whether the service is well, to whoever asks over HTTP.
//!
//! A role of its own, so that neither the supervisor, which counts, nor a gateway, which has sessions, reads
//! what comes to that listener.

mod http;
mod questions;

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use common::ipc::channel::Channel;
use common::ipc::exporter::{ExporterToSupervisor, Page, SupervisorToExporter};
use common::ipc::setup::{self, ExporterSetup};
use common::sys::listener::Listener;
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::role;
use crate::sandbox::{self, Profile};
use questions::Questions;

/// Connections at a time; more wait in the kernel's queue. Each asks for one page.
const MAX_CONNECTIONS: usize = Page::MAX_WANTED;

/// Pause after accepting has failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs the role until its channel is closed.
///
/// # Errors
///
/// When the supervisor sends something else than expected, or the kernel refuses what is needed.
pub fn run(control: OwnedFd, log: OwnedFd) -> io::Result<()> {
    role::run(async {
        let supervisor = Rc::new(Channel::new(control)?);
        let Ok(SupervisorToExporter::Setup(file)) = supervisor.receive().await else {
            return Err(role::unexpected("no setup"));
        };
        let setup: ExporterSetup = setup::read(file)?;
        let level = sandbox::enter(Profile::Exporter, setup.run_as, setup.sandbox)?;
        let log = role::log_to(log, false);
        if supervisor.send(&ExporterToSupervisor::Ready(level)).await.is_err() {
            return Ok(());
        }
        // Who only wanted to see whether it starts sends none.
        let Ok(SupervisorToExporter::Listener(listener)) = supervisor.receive().await else { return Ok(()) };
        let questions = Rc::new(Questions::new(supervisor));
        let ended = tokio::select! {
            ended = questions.keep_answering() => ended,
            failed = accept(Listener::new(listener)?, &questions) => failed,
        };
        log.flush();
        ended
    })
}

/// Serves whoever comes.
async fn accept(listener: Listener, questions: &Rc<Questions>) -> io::Result<()> {
    let turns = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let turn = turns.clone().acquire_owned().await.map_err(io::Error::other)?;
        match poll_fn(|cx| listener.poll_accept(cx)).await {
            Ok((socket, _)) => {
                let questions = questions.clone();
                spawn_local(async move {
                    http::serve(socket, questions).await;
                    drop(turn);
                });
            }
            // Who has gone before it was its turn.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!("cannot accept: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}
