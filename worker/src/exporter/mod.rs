//! The exporter: serves metrics and health over HTTP.
//!
//! The exporter is a separate role, so that requests to this listener are parsed neither by the supervisor, which has
//! the counters, nor by a gateway, which has sessions.

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

/// Maximum number of connections; further ones wait in the kernel's queue. A connection carries one request.
const MAX_CONNECTIONS: usize = Page::MAX_WANTED;

/// Pause after accept(2) has failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs the role until the supervisor closes its channel.
///
/// # Errors
///
/// Fails if the supervisor breaks protocol, or if a system call fails.
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
        // A rehearsal sends no listener.
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

/// Serves clients, for the life of the role.
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
            // The client has closed the connection while it was queued.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!("cannot accept: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}
