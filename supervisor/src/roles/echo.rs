//! The echo role: the target of the demo, reached like any other target.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use common::addr::TargetAddr;
use common::ipc::echo::SupervisorToEcho;
use common::ipc::log::LogMessage;
use common::role::RoleName;

use super::peer::{Fault, Peer, Role};
use super::role_output::About;
use super::scope::Scope;
use super::supervise::{First, Launch, Spec, StartError};
use crate::state::service::ServiceState;

/// The specification of the echo role.
#[derive(Debug)]
pub(crate) struct EchoSpec {
    pub(crate) scope: Rc<Scope>,
    /// The listener on which it accepts connections; `None` if an earlier image has started it.
    pub(crate) listener: Option<OwnedFd>,
}

/// Opens a listener on a free loopback port. Returns its address and the socket.
pub(crate) fn listen() -> io::Result<(TargetAddr, OwnedFd)> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let port = listener.local_addr()?.port();
    Ok((TargetAddr::Tcp { host: "127.0.0.1".into(), port }, listener.into()))
}

impl Launch for EchoSpec {
    const NAME: RoleName = RoleName::Echo;

    fn spawn(&self) -> io::Result<Role> {
        Role::spawn(Self::NAME, self.scope.sandbox, "the echo target".into(), About::Itself)
    }

    async fn set_up(&self, peer: &Peer) -> Result<(), StartError> {
        let setup = self.scope.setups()?.echo.try_clone()?;
        peer.channel.send(&SupervisorToEcho::Setup(setup)).await?;
        if let Some(listener) = &self.listener {
            peer.channel.send(&SupervisorToEcho::Listener(listener.try_clone()?)).await?;
        }
        Ok(())
    }

    async fn first(&self, _: &Peer) -> Result<First, StartError> {
        Ok(First::Unconfined)
    }
}

impl Spec for EchoSpec {
    // It sends nothing, so that any message is a violation.
    type Up = LogMessage;

    fn state(&self) -> &Rc<ServiceState> {
        &self.scope.state
    }

    fn take(&self, _: &Rc<Peer>, _: LogMessage) -> Result<(), Fault> {
        Err(Fault::out_of_turn())
    }

    async fn ping(&self, _: &Peer) {}

    fn is_wanted(&self) -> bool {
        self.scope.is_wanted()
    }
}
