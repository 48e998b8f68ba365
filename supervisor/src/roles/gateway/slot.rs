//! A slot for a gateway: starts one, and replaces it when it dies.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use common::ipc::channel::{Channel, ChannelError};
use common::ipc::connector::SupervisorToConnector;
use common::ipc::gateway::{GatewayToSupervisor, SupervisorToGateway};
use common::ipc::signer::SupervisorToSigner;
use common::role::RoleName;
use tokio::time::timeout;

use super::process::{Gateway, GatewaySnapshot};
use super::reports;
use crate::files::recordings::Recordings;
use crate::roles::confinement::Confinement;
use crate::roles::host::Event;
use crate::roles::peer::{Fault, Peer, Role};
use crate::roles::role_output::About;
use crate::roles::scope::Scope;
use crate::roles::supervise::{First, Launch, START_DEADLINE, Spec, StartError};
use crate::state::service::ServiceState;

/// A slot for a gateway. If the gateway dies, another one takes the slot.
#[derive(Debug)]
pub(crate) struct GatewaySlot {
    scope: Rc<Scope>,
    /// Files for recordings of its sessions, if recording is configured.
    recordings: Option<Rc<Recordings>>,
    /// Maximum number of requests on a connection of its gateways.
    requests: u64,
    /// The current gateway, ready or not.
    gateway: RefCell<Option<Rc<Gateway>>>,
    is_ready: Cell<bool>,
    was_taken: Cell<bool>,
}

impl GatewaySlot {
    /// Creates an empty slot.
    pub(crate) fn new(scope: Rc<Scope>, recordings: Option<Rc<Recordings>>, requests: u64) -> Self {
        Self {
            scope,
            recordings,
            requests,
            gateway: RefCell::default(),
            is_ready: Cell::default(),
            was_taken: Cell::default(),
        }
    }

    /// Creates a slot with a gateway that an earlier image has started.
    pub(crate) fn adopted(
        scope: Rc<Scope>,
        recordings: Option<Rc<Recordings>>,
        snapshot: GatewaySnapshot,
        peer: Rc<Peer>,
        acknowledgements: OwnedFd,
    ) -> Self {
        let gateway = Gateway::adopted(snapshot, peer, acknowledgements);
        let known = (&*scope.connector.borrow(), &*scope.identity.borrow());
        gateway
            .introduced
            .set((known.0.as_ref().map(|one| one.pid), known.1.as_ref().map(|one| one.version())));
        // No gateway of this image will be started in this slot.
        let slot = Self::new(scope.clone(), recordings, 0);
        slot.gateway.replace(Some(Rc::new(gateway)));
        slot.is_ready.set(true);
        slot
    }

    /// The current gateway, if it is ready.
    pub(crate) fn ready(&self) -> Option<Rc<Gateway>> {
        let gateway = self.gateway.borrow();
        gateway.as_ref().filter(|gateway| self.is_ready.get() && !gateway.peer.is_gone()).cloned()
    }

    /// Whether the slot has a gateway, which may be about to end.
    pub(crate) fn is_taken(&self) -> bool {
        self.gateway.borrow().is_some()
    }

    /// Gives the gateway channels to the current connector and signer, unless it has them. A missing role is
    /// skipped: it is introduced to all gateways when it is replaced.
    pub(crate) async fn introduce_others(&self) -> Result<(), ChannelError> {
        let Some(gateway) = self.gateway.borrow().clone() else { return Ok(()) };
        let (connector, identity) =
            (self.scope.connector.borrow().clone(), self.scope.identity.borrow().clone());
        let (with_connector, with_identity) = gateway.introduced.get();
        if let Some(connector) = connector.filter(|one| with_connector != Some(one.pid)) {
            gateway.introduced.set((Some(connector.pid), with_identity));
            let (theirs, channel) = Channel::pair()?;
            let introduction = SupervisorToConnector::Gateway { id: gateway.id, channel };
            // Fails only if the connector is dead. Its successor is introduced.
            if in_time(connector.channel.send(&introduction)).await.is_ok() {
                gateway.tell(&SupervisorToGateway::Connector(theirs)).await?;
            }
        }
        if let Some(identity) = identity.filter(|one| with_identity != Some(one.version())) {
            let Some(certificate) = identity.certificate()? else { return Ok(()) };
            gateway.introduced.set((gateway.introduced.get().0, Some(identity.version())));
            let (theirs, channel) = Channel::pair()?;
            let introduction = SupervisorToSigner::Gateway { id: gateway.id, channel };
            if in_time(identity.signer.channel.send(&introduction)).await.is_ok() {
                gateway.tell(&SupervisorToGateway::Certificate(certificate)).await?;
                gateway.tell(&SupervisorToGateway::Signer(theirs)).await?;
            }
        }
        Ok(())
    }

    fn present(&self) -> Result<Rc<Gateway>, StartError> {
        self.gateway.borrow().clone().ok_or(StartError::Channel(ChannelError::Closed))
    }
}

async fn in_time(sent: impl Future<Output = Result<(), ChannelError>>) -> Result<(), ChannelError> {
    timeout(START_DEADLINE, sent).await.unwrap_or(Err(ChannelError::Closed))
}

impl Launch for GatewaySlot {
    const NAME: RoleName = RoleName::Gateway;

    fn confinement(&self) -> Option<&Confinement> {
        Some(&self.scope.confinement)
    }

    fn spawn(&self) -> io::Result<Role> {
        let id = self.scope.state.next_gateway();
        let about = About::Gateway(self.scope.state.clone(), id);
        let role = Role::spawn(Self::NAME, self.scope.sandbox, format!("gateway {id}"), about)?;
        let (ours, theirs) = Channel::pair()?;
        let gateway = Gateway::new(id, role.peer.clone(), ours, self.requests);
        gateway.their_acknowledgements.replace(Some(theirs));
        self.gateway.replace(Some(Rc::new(gateway)));
        Ok(role)
    }

    async fn set_up(&self, peer: &Peer) -> Result<(), StartError> {
        let setups = self.scope.setups()?;
        let acknowledgements = self.present()?.their_acknowledgements.take();
        let channel = &peer.channel;
        channel.send(&SupervisorToGateway::Setup(setups.gateway.try_clone()?)).await?;
        if let Some(acknowledgements) = acknowledgements {
            channel.send(&SupervisorToGateway::Acknowledgements(acknowledgements)).await?;
        }
        if let Some(root) = &setups.web_root {
            channel.send(&SupervisorToGateway::WebRoot(root.try_clone()?)).await?;
        }
        self.introduce_others().await?;
        Ok(channel.send(&SupervisorToGateway::Begin).await?)
    }

    async fn first(&self, peer: &Peer) -> Result<First, StartError> {
        Ok(match peer.channel.receive().await? {
            GatewayToSupervisor::Ready(level) => First::Ready(level),
            GatewayToSupervisor::Failed(reason) => First::Failed(reason),
            _ => First::Failed("it sent a message before it was ready".into()),
        })
    }

    async fn introduce(&self, peer: &Rc<Peer>) -> Result<(), StartError> {
        if self.scope.retired.get() {
            return Err(StartError::Failed("it was started too late, after a reload".into()));
        }
        self.is_ready.set(true);
        if self.was_taken.replace(true) {
            let restarts = &self.scope.state.counters.restarts;
            restarts.set(restarts.get() + 1);
        }
        // A connector or signer that became ready meanwhile did not find this gateway.
        self.introduce_others().await?;
        tracing::debug!("{} (pid {}) is ready", peer.title, peer.pid);
        self.scope.report(Event::GatewayReady);
        Ok(())
    }

    /// Frees the slot. A retired generation ends when all of its slots are free.
    fn give_up(&self) {
        self.is_ready.set(false);
        self.gateway.replace(None);
        self.scope.report(Event::GatewayGone);
    }
}

impl Spec for GatewaySlot {
    type Up = GatewayToSupervisor;

    fn state(&self) -> &Rc<ServiceState> {
        &self.scope.state
    }

    fn take(&self, _: &Rc<Peer>, message: GatewayToSupervisor) -> Result<(), Fault> {
        let Some(gateway) = self.gateway.borrow().clone() else { return Ok(()) };
        reports::take(&self.scope, self.recordings.as_ref(), &gateway, message)
    }

    async fn ping(&self, _: &Peer) {
        let gateway = self.gateway.borrow().clone();
        if let Some(gateway) = gateway {
            if gateway.count(Vec::new()).await.is_some() {
                return;
            }
        }
        // Whoever listens to the channel notices the end.
        std::future::pending().await
    }

    async fn clean_up(&self, _: &Rc<Peer>) -> Option<String> {
        let gateway = self.gateway.borrow().clone()?;
        self.is_ready.set(false);
        let state = &self.scope.state;
        state.counters.departed.borrow_mut().add(&gateway.stats.borrow());
        gateway.set_ended();
        // The process is dead, so that these are all acknowledgements that can exist.
        gateway.take_acknowledgements(&self.scope);
        let lost_sessions = state.connections.borrow().sessions_of(gateway.id).len();
        if !gateway.told_to_end.get() {
            state.connections.borrow_mut().gateway_crashed(gateway.id);
        }
        state.leave(state.connections.borrow_mut().gateway_gone(gateway.id));
        self.gateway.replace(None);
        self.scope.report(Event::GatewayGone);
        if gateway.told_to_end.get() {
            return None;
        }
        if let Some(identity) = &*self.scope.identity.borrow() {
            // The gateway may have been compromised, and with it the secret of session tickets.
            if identity.has_shared_secrets {
                tracing::warn!(
                    "the gateway knew the keys in `tls.session-ticket-keys`: replace them if it may have been compromised"
                );
            } else {
                match identity.renew_ticket_secret() {
                    Ok(()) => self.scope.report(Event::IdentityChanged),
                    Err(reason) => tracing::error!("the key of session tickets was not replaced: {reason}"),
                }
            }
        }
        Some(format!(", {lost_sessions} sessions are lost"))
    }

    fn is_wanted(&self) -> bool {
        self.scope.is_wanted()
    }
}
