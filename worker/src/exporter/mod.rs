//! The exporter: serves metrics and health over HTTP, and answers HAProxy's agent checks.
//!
//! The exporter is a separate role, so that requests to these listeners are parsed neither by the supervisor, which has
//! the counters, nor by a gateway, which has sessions.

mod agent_check;
mod http;
mod questions;

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use common::ipc::channel::Channel;
use common::ipc::exporter::{ExporterToSupervisor, Page, Protocol, SupervisorToExporter};
use common::ipc::setup::{self, ExporterSetup};
use common::sys::listener::Listener;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;

use crate::role;
use crate::sandbox::{self, Profile};
use questions::Questions;

/// Maximum number of connections of a listener; further ones wait in the kernel's queue. A connection carries one
/// request.
const MAX_CONNECTIONS: usize = Page::MAX_WANTED / 2;

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
        let ended = obey(&supervisor).await;
        log.flush();
        ended
    })
}

/// Serves on the listeners that the supervisor sends, until it closes the channel.
async fn obey(supervisor: &Rc<Channel>) -> io::Result<()> {
    let questions = Rc::new(Questions::new(supervisor.clone()));
    let mut listeners: HashMap<Protocol, AbortHandle> = HashMap::new();
    loop {
        match supervisor.receive().await {
            Ok(SupervisorToExporter::Listener { protocol, socket }) => {
                let accepting = accept(protocol, Listener::new(socket)?, questions.clone());
                let accepting = spawn_local(accepting).abort_handle();
                if listeners.insert(protocol, accepting).is_some() {
                    return Err(role::unexpected("a second listener of a kind"));
                }
            }
            Ok(SupervisorToExporter::Page { is_well, text }) => questions.answer(is_well, text)?,
            Ok(SupervisorToExporter::Ping) => {
                supervisor.send(&ExporterToSupervisor::Pong).await.map_err(io::Error::other)?;
            }
            Ok(SupervisorToExporter::Retire) => {
                for (_, accepting) in listeners.drain() {
                    accepting.abort();
                }
            }
            Ok(SupervisorToExporter::Setup(_)) => unreachable!("the channel accepts one setup"),
            Err(error) => return role::ended(error),
        }
    }
}

/// Serves the clients of a listener, until this task is aborted.
async fn accept(protocol: Protocol, listener: Listener, questions: Rc<Questions>) {
    let turns = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(turn) = turns.clone().acquire_owned().await {
        match poll_fn(|cx| listener.poll_accept(cx)).await {
            Ok((socket, _)) => {
                let questions = questions.clone();
                spawn_local(async move {
                    match protocol {
                        Protocol::Http => http::serve(socket, questions).await,
                        Protocol::AgentCheck => agent_check::serve(socket, &questions).await,
                    }
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
