//! The connector, which decides and dials. It is started first, and introduced to every gateway.

use std::io;
use std::rc::Rc;

use common::ipc::ConnectionId;
use common::ipc::connector::{ConnectorToSupervisor, Dialled, MAX_SETTLED, SupervisorToConnector};
use common::ipc::setup;
use common::ipc::sockets::{MAX_SOCKET_QUESTIONS, NoSocket, SocketName};
use common::log::budget::cost;
use common::role::RoleName;
use rustix::io::Errno;
use tokio::task::spawn_local;

use super::confinement::Confinement;
use super::host::Event;
use super::peer::{Fault, Peer, Role};
use super::role_output::About;
use super::scope::Scope;
use super::supervise::{First, Launch, Spec, StartError};
use crate::files::sockets::TargetSockets;
use crate::files::tokens::TokenSource;
use crate::files::users::UsersFile;
use crate::os::network::{Network, within};
use crate::state::connections::SocketClaim;
use crate::state::service::ServiceState;

/// The specification of a generation's connector.
#[derive(Debug)]
pub(crate) struct ConnectorSpec {
    pub(crate) scope: Rc<Scope>,
    /// The token files, whose content a new connector is sent.
    pub(crate) tokens: Rc<TokenSource>,
    /// The file of users, which a new connector is told.
    pub(crate) users: Rc<UsersFile>,
    /// Sockets to which only root may connect.
    pub(crate) sockets: Rc<TargetSockets>,
    /// The network namespace to dial in, if it is another one.
    pub(crate) network: Option<Rc<Network>>,
}

/// Settles everything that a connector was asked to settle, as the generation has none any more.
fn no_connector(scope: &Scope) {
    scope.state.leave(scope.state.connections.borrow_mut().connector_gone(scope.generation));
}

/// Asks a connector to settle connections that have ended, until the connector itself has ended.
pub(crate) fn ask_to_settle(scope: &Scope, peer: &Rc<Peer>) {
    let (state, generation, peer) = (scope.state.clone(), scope.generation, Rc::downgrade(peer));
    spawn_local(async move {
        loop {
            let more = state.to_forget.notified();
            let Some(peer) = peer.upgrade().filter(|peer| !peer.is_gone()) else { return };
            let ids = state.connections.borrow().to_forget(generation, MAX_SETTLED);
            if ids.is_empty() {
                drop(peer);
                more.await;
                continue;
            }
            let count = ids.len();
            // If the connector can't be asked, its keeper notices its end.
            if peer.channel.send(&SupervisorToConnector::Forget(ids)).await.is_err() {
                return;
            }
            state.connections.borrow_mut().asked_to_forget(generation, count);
        }
    });
}

/// What a connector requests for a socket that only root may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SocketRequest {
    /// Whether the socket exists.
    Find,
    /// A connection to the socket.
    Connect,
}

/// Asks a connector to repeat the requests that an earlier image did not answer.
pub(crate) async fn ask_to_repeat(peer: Rc<Peer>, ids: Vec<ConnectionId>) {
    for id in ids {
        let answer = no_socket(id, Errno::AGAIN);
        // If the answer can't be sent, the keeper of the connector notices its end.
        if peer.channel.send(&answer).await.is_err() {
            return;
        }
    }
}

/// Sends a connector an answer.
fn answer(peer: &Rc<Peer>, answer: SupervisorToConnector) {
    let peer = peer.clone();
    // If it can't be sent, the keeper of the connector notices its end.
    spawn_local(async move { _ = peer.channel.send(&answer).await });
}

fn no_socket(id: ConnectionId, errno: Errno) -> SupervisorToConnector {
    SupervisorToConnector::NoSocket { id, why: NoSocket::System(errno.raw_os_error()) }
}

impl ConnectorSpec {
    /// Starts to serve a request for a socket.
    ///
    /// # Errors
    ///
    /// Fails if a connector that follows the protocol can't have sent it.
    fn serve_request(
        &self,
        peer: &Rc<Peer>,
        id: ConnectionId,
        name: SocketName,
        request: SocketRequest,
    ) -> Result<(), Fault> {
        let (state, generation, pid) = (self.scope.state.clone(), self.scope.generation, peer.pid);
        let claim = state.connections.borrow().socket_claim(id, generation, pid);
        if claim == SocketClaim::Wrong {
            return Err(Fault::Violation(format!(
                "it requests a socket for connection {id}, which is not its own"
            )));
        }
        let location = self.sockets.locate(name);
        let location =
            location.ok_or_else(|| Fault::Violation("it requests a socket that nothing names".into()))?;
        if self.sockets.ask(pid, id).is_none_or(|count| count > MAX_SOCKET_QUESTIONS) {
            return Err(Fault::Violation("it requests too many sockets at a time".into()));
        }
        let (sockets, peer) = (self.sockets.clone(), Rc::downgrade(peer));
        spawn_local(async move {
            let answer = match request {
                _ if claim == SocketClaim::Over => Ok(no_socket(id, Errno::CANCELED)),
                SocketRequest::Find => {
                    sockets.find(location).await.map(|()| SupervisorToConnector::SocketFound(id))
                }
                SocketRequest::Connect => sockets.connect(location).await.map(|socket| {
                    match state.connections.borrow_mut().claim_socket(id, generation, pid) {
                        SocketClaim::Good => SupervisorToConnector::Socket { id, socket },
                        SocketClaim::Over | SocketClaim::Wrong => no_socket(id, Errno::CANCELED),
                    }
                }),
            };
            let answer = answer.unwrap_or_else(|why| SupervisorToConnector::NoSocket { id, why });
            if let Some(peer) = peer.upgrade() {
                // If the answer can't be sent, the keeper of the connector notices its end.
                let _ = peer.channel.send(&answer).await;
            }
            sockets.answered(pid, id);
        });
        Ok(())
    }
}

impl Launch for ConnectorSpec {
    const NAME: RoleName = RoleName::Connector;

    fn confinement(&self) -> Option<&Confinement> {
        Some(&self.scope.confinement)
    }

    fn spawn(&self) -> io::Result<Role> {
        let spawn = || {
            let about = About::Connector(self.scope.state.clone(), self.scope.generation);
            Role::spawn(Self::NAME, self.scope.sandbox, "the connector".into(), about)
        };
        within(self.network.as_deref(), spawn)
    }

    async fn set_up(&self, peer: &Peer) -> Result<(), StartError> {
        let setup = setup::file(&self.scope.setups()?.connector)?;
        Ok(peer.channel.send(&SupervisorToConnector::Setup(setup)).await?)
    }

    async fn first(&self, peer: &Peer) -> Result<First, StartError> {
        Ok(match peer.channel.receive().await? {
            ConnectorToSupervisor::Ready(level) => First::Ready(level),
            ConnectorToSupervisor::Failed(reason) => First::Failed(reason),
            _ => First::Failed("it sent a message before it was ready".into()),
        })
    }

    async fn introduce(&self, peer: &Rc<Peer>) -> Result<(), StartError> {
        // Tickets that an earlier connector may have accepted, and that this one must reject.
        let state = &self.scope.state;
        let spent = state.connections.borrow_mut().connector_starts(self.scope.generation);
        peer.channel.send(&SupervisorToConnector::SpentBefore(setup::file(&spent)?)).await?;
        if let Some(tokens) = self.tokens.in_force()? {
            peer.channel.send(&SupervisorToConnector::Tokens(tokens)).await?;
        }
        if let Some(users) = self.users.in_force()? {
            peer.channel.send(&SupervisorToConnector::Users(users)).await?;
        }
        if state.connections.borrow().any_barred() {
            peer.channel.send(&SupervisorToConnector::ReserveAll).await?;
        }
        self.scope.connector.replace(Some(peer.clone()));
        ask_to_settle(&self.scope, peer);
        self.scope.report(Event::ConnectorReady);
        Ok(())
    }

    fn give_up(&self) {
        no_connector(&self.scope);
    }
}

impl Spec for ConnectorSpec {
    type Up = ConnectorToSupervisor;

    fn state(&self) -> &Rc<ServiceState> {
        &self.scope.state
    }

    fn take(&self, peer: &Rc<Peer>, message: ConnectorToSupervisor) -> Result<(), Fault> {
        match message {
            ConnectorToSupervisor::Dialled(all) => {
                let connections = self.scope.state.connections.borrow();
                let can_be = |one: &Dialled| {
                    one.fits() && connections.can_have_taken(one.id, one.connect.unwrap_or_default())
                };
                if !all.iter().all(can_be) {
                    return Err(Fault::Violation("an impossible time or text".into()));
                }
                if !all.iter().all(|one| connections.may_be_vouched(one.id, one.vouched)) {
                    return Err(Fault::Violation(
                        "it names a client for which no trusted proxy vouches".into(),
                    ));
                }
                drop(connections);
                let costs = all
                    .iter()
                    .map(|one| cost(&one.target) + cost(one.failure.as_deref().unwrap_or_default()));
                let is_logged = peer.role_output.may_log(costs.sum())?;
                self.scope.report(Event::Dialled { all, is_logged });
            }
            ConnectorToSupervisor::Offenders(offenders) => {
                if offenders.iter().any(|one| one.offence.reporter() != Some(Self::NAME)) {
                    return Err(Fault::Violation("an offence that it can't know of".into()));
                }
                self.scope
                    .state
                    .connections
                    .borrow_mut()
                    .connector_reports(&offenders, self.scope.generation);
            }
            ConnectorToSupervisor::Settled(ids) => {
                let state = &self.scope.state;
                state.leave(state.connections.borrow_mut().settled(&ids, self.scope.generation));
            }
            ConnectorToSupervisor::Violation(violation) => {
                self.scope.report(Event::Accused(Self::NAME, violation));
            }
            ConnectorToSupervisor::PluginHangs(kind) => {
                if peer.role_output.may_log(cost(""))? {
                    self.scope.report(Event::PluginHangs(kind));
                }
            }
            ConnectorToSupervisor::FindSocket { id, name } => {
                self.serve_request(peer, id, name, SocketRequest::Find)?;
            }
            ConnectorToSupervisor::ConnectSocket { id, name } => {
                self.serve_request(peer, id, name, SocketRequest::Connect)?;
            }
            ConnectorToSupervisor::Reserve { id, token, limits } => {
                let mut connections = self.scope.state.connections.borrow_mut();
                let is_hash = token.len() <= Dialled::MAX_TEXT;
                let answer = if is_hash {
                    connections.reserve(id, self.scope.generation, &token, &limits)
                } else {
                    None
                };
                let answer = answer.ok_or_else(|| {
                    Fault::Violation(format!("a reservation for connection {id}, which it can't make"))
                })?;
                self::answer(peer, SupervisorToConnector::Reserved { id, answer });
            }
            ConnectorToSupervisor::CheckSource { id, client, page } => {
                let verdict = {
                    let mut connections = self.scope.state.connections.borrow_mut();
                    connections.check_source(id, self.scope.generation, client, page)
                };
                let verdict = verdict.ok_or_else(|| {
                    Fault::Violation(format!(
                        "a question about a client of connection {id}, which it can't ask"
                    ))
                })?;
                answer(peer, SupervisorToConnector::SourceChecked { id, verdict });
            }
            ConnectorToSupervisor::ClaimTarget { id, target } => {
                let mut connections = self.scope.state.connections.borrow_mut();
                let fits = target.len() <= Dialled::MAX_TEXT;
                let is_free = Some(id).filter(|_| fits);
                let is_free =
                    is_free.and_then(|id| connections.claim_target(id, self.scope.generation, &target));
                let is_free = is_free.ok_or_else(|| {
                    Fault::Violation(format!("a claim for connection {id}, which it can't make"))
                })?;
                answer(peer, SupervisorToConnector::TargetClaimed { id, is_free });
            }
            ConnectorToSupervisor::PageServed(id) => {
                self.scope.state.connections.borrow_mut().page_served(id, self.scope.generation);
            }
            ConnectorToSupervisor::WhichEnded(ids) => {
                let ended = self.scope.state.connections.borrow().ended_among(&ids);
                let peer = peer.clone();
                // If the answer can't be sent, the keeper of the connector notices its end.
                spawn_local(async move {
                    _ = peer.channel.send(&SupervisorToConnector::Ended(ended)).await;
                });
            }
            ConnectorToSupervisor::Revoked(ids) => self.scope.report(Event::Revoked(ids)),
            ConnectorToSupervisor::Release(id) => {
                self.scope.state.connections.borrow_mut().release(id, self.scope.generation);
            }
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

    async fn clean_up(&self, peer: &Rc<Peer>) -> Option<String> {
        self.scope.connector.replace(None);
        // Messages that it sent before its end are still valid.
        while let Ok(Some(message)) = peer.channel.try_receive() {
            if self.take(peer, message).is_err() {
                break;
            }
        }
        self.sockets.forget(peer.pid);
        no_connector(&self.scope);
        Some(String::new())
    }

    fn is_wanted(&self) -> bool {
        self.scope.is_wanted()
    }
}
