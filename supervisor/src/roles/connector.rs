//! The connector: decides and dials. It is started first, and introduced to every gateway.

use std::io;
use std::rc::Rc;

use common::ipc::connector::{ConnectorToSupervisor, SupervisorToConnector};
use common::ipc::setup;
use common::role::RoleName;

use super::confinement::Confinement;
use super::host::Event;
use super::peer::{Fault, Peer, Role};
use super::scope::Scope;
use super::supervise::{First, Launch, Spec, StartError};
use crate::files::tokens::TokenSource;
use crate::os::network::{Network, within};
use crate::state::service::ServiceState;

/// What is needed to start a connector.
#[derive(Debug)]
pub(crate) struct ConnectorSpec {
    pub(crate) scope: Rc<Scope>,
    /// The files of tokens, whose content a new connector is told.
    pub(crate) tokens: Rc<TokenSource>,
    /// The network namespace that it dials in, if that is not ours.
    pub(crate) network: Option<Rc<Network>>,
}

impl Launch for ConnectorSpec {
    const NAME: RoleName = RoleName::Connector;

    fn confinement(&self) -> Option<&Confinement> {
        Some(&self.scope.confinement)
    }

    fn spawn(&self) -> io::Result<Role> {
        let spawn = || Role::spawn(Self::NAME, self.scope.sandbox, "the connector".into());
        within(self.network.as_deref(), spawn)
    }

    async fn set_up(&self, peer: &Peer) -> Result<(), StartError> {
        let setup = self.scope.setups()?.connector.try_clone()?;
        Ok(peer.channel.send(&SupervisorToConnector::Setup(setup)).await?)
    }

    async fn first(&self, peer: &Peer) -> Result<First, StartError> {
        Ok(match peer.channel.receive().await? {
            ConnectorToSupervisor::Ready(level) => First::Ready(level),
            ConnectorToSupervisor::Failed(reason) => First::Failed(reason),
            _ => First::Failed("it spoke before it was ready".into()),
        })
    }

    async fn introduce(&self, peer: &Rc<Peer>) -> Result<(), StartError> {
        // The tickets that it must not take, for an earlier connector may have.
        let spent = setup::file(&self.scope.state.connections.borrow().past())?;
        peer.channel.send(&SupervisorToConnector::SpentBefore(spent)).await?;
        if let Some(tokens) = self.tokens.in_force()? {
            peer.channel.send(&SupervisorToConnector::Tokens(tokens)).await?;
        }
        self.scope.connector.replace(Some(peer.clone()));
        self.scope.report(Event::ConnectorReady);
        Ok(())
    }
}

impl Spec for ConnectorSpec {
    type Up = ConnectorToSupervisor;

    fn state(&self) -> &Rc<ServiceState> {
        &self.scope.state
    }

    fn take(&self, peer: &Rc<Peer>, message: ConnectorToSupervisor) -> Result<(), Fault> {
        match message {
            ConnectorToSupervisor::Dialled(all) => self.scope.report(Event::Dialled(all)),
            ConnectorToSupervisor::Violation(violation) => {
                self.scope.report(Event::Accused(Self::NAME, violation));
            }
            ConnectorToSupervisor::PluginHangs(kind) => self.scope.report(Event::PluginHangs(kind)),
            ConnectorToSupervisor::Pong => peer.pulse.heard(),
            ConnectorToSupervisor::Ready(_) | ConnectorToSupervisor::Failed(_) => {
                return Err(Fault::out_of_turn());
            }
        }
        Ok(())
    }

    async fn ping(&self, peer: &Peer) {
        peer.pulse.ping(&peer.channel, &SupervisorToConnector::Ping).await;
    }

    async fn bury(&self, _: &Rc<Peer>) -> Option<String> {
        self.scope.connector.replace(None);
        self.scope.state.connections.borrow_mut().connector_gone(self.scope.generation);
        Some(String::new())
    }

    fn is_wanted(&self) -> bool {
        self.scope.is_wanted()
    }
}
