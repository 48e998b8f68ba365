//! The echo role: returns the bytes that it receives. It is the target of the demo, and a role of its own, so
//! that the demo uses the same path as every session.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use common::config::Sandbox;
use common::ipc::channel::Channel;
use common::ipc::echo::SupervisorToEcho;
use common::ipc::setup::{self, EchoSetup};
use common::sys::listener::Listener;
use common::sys::stream::StreamSocket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_local;

use crate::role;
use crate::sandbox::{self, Profile};

/// Maximum number of bytes of a connection that wait to be returned.
const BUFFER_BYTES: usize = 64 << 10;

/// Runs the role until the supervisor closes its channel.
///
/// # Errors
///
/// Fails if the supervisor breaks protocol, or if a system call fails.
pub fn run(control: OwnedFd, log: OwnedFd) -> io::Result<()> {
    role::run(async {
        let control = Channel::new(control)?;
        let (Ok(SupervisorToEcho::Setup(file)), Ok(SupervisorToEcho::Listener(listener))) =
            (control.receive().await, control.receive().await)
        else {
            return Err(role::unexpected("no listener"));
        };
        let setup: EchoSetup = setup::read(file)?;
        let level = sandbox::enter(Profile::Echo, setup.run_as, setup.sandbox)?;
        let missing = level.missing(setup.run_as.is_some()).join(", ");
        if setup.sandbox == Sandbox::Strict && !missing.is_empty() {
            return Err(io::Error::other(format!("not confined: this system lacks {missing}")));
        }
        let log = role::log_to(log, false);
        let listener = Listener::new(listener)?;
        loop {
            tokio::select! {
                accepted = poll_fn(|cx| listener.poll_accept(cx)) => match accepted {
                    Ok((socket, _)) => _ = spawn_local(echo(socket)),
                    Err(error) => {
                        tracing::warn!("cannot accept: {error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                received = control.receive::<SupervisorToEcho>() => {
                    log.flush();
                    return match received {
                        Ok(_) => Err(role::unexpected("more than a listener")),
                        Err(error) => role::ended(error),
                    };
                }
            }
        }
    })
}

/// Serves a connection. An error ends this connection only, and is not logged.
async fn echo(socket: OwnedFd) -> io::Result<()> {
    let mut stream = StreamSocket::new(socket)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..len]).await?;
    }
}
