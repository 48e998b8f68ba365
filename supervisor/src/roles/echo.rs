//! The demo's echo target, a role like the others, behind the real path.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use common::addr::TargetAddr;
use common::ipc::channel::ChannelError;
use common::ipc::echo::SupervisorToEcho;

use crate::os::log::message_id;
use crate::path::generation::Generation;
use crate::roles::role::{Backoff, Role};

/// A listener on a free loopback port, and the address to reach it.
pub(crate) fn listen() -> io::Result<(TargetAddr, OwnedFd)> {
    let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let port = listener.local_addr()?.port();
    Ok((TargetAddr::Tcp { host: "127.0.0.1".into(), port }, listener.into()))
}

/// Keeps the echo target alive on `listener`.
pub(crate) async fn keep(generation: Rc<Generation>, listener: OwnedFd) {
    let mut backoff = Backoff::new();
    loop {
        let since = Instant::now();
        let error = run(&generation, &listener).await;
        if generation.service.stopping.get() {
            return;
        }
        tracing::error!(target: "websockify::echo", message_id = message_id::ROLE_DIED, websockify_role = "echo", "the echo target is gone ({error}); starting another");
        backoff.pause(since.elapsed()).await;
    }
}

async fn run(generation: &Generation, listener: &OwnedFd) -> ChannelError {
    let started = async {
        let role = Role::start("echo", generation.config.sandbox)?;
        role.channel
            .send(&SupervisorToEcho::Setup(generation.setups().map_err(io::Error::other)?.echo.try_clone()?))
            .await?;
        role.channel.send(&SupervisorToEcho::Listener(listener.try_clone()?)).await?;
        *generation.echo_handle.borrow_mut() = Some(role.handle());
        Ok(role)
    };
    match started.await {
        // It says nothing, but for the end of its channel when it dies.
        Ok(mut role) => role.process.wait().await.map_or_else(ChannelError::Io, |_| ChannelError::Closed),
        Err(error) => error,
    }
}
