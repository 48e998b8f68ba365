//! The certificate that clients see and the signer that holds its key.
//!
//! Both files are looked at before each connection is handed on, as the original does: a certificate
//! that appears late or is renewed is in force for the next client, without a reload.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::time::{Instant, SystemTime};

use common::certificate;
use common::config::{Config, Secret};
use common::ipc::channel::{Channel, ChannelError};
use common::ipc::gateway::SupervisorToGateway;
use common::ipc::setup::{self, RunAs, ServerIdentity, SignerSetup, TicketSecret};
use common::ipc::signer::{KeyDescription, SignerToSupervisor, SupervisorToSigner};
use rustix::rand::GetRandomFlags;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::timeout;

use crate::files::stamp::Stamp;
use crate::os::log::message_id;
use crate::os::process::Process;
use crate::path::generation::Generation;
use crate::roles::gateway::{self, Gateway};
use crate::roles::liveness::{self, Pulse};
use crate::roles::role::{self, Backoff, Handle, Role};
use crate::roles::setup::certificates;
use crate::roles::violation;

/// The files, and what was made of them.
#[derive(Debug)]
pub(crate) struct Identity {
    files: Option<Files>,
    run_as: Option<RunAs>,
    seen: Cell<Option<Stamps>>,
    problem: RefCell<Option<String>>,
    current: RefCell<Option<Rc<Current>>>,
    backoff: RefCell<Option<Backoff>>,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    password: Option<Secret>,
}

/// A certificate in force.
#[derive(Debug)]
pub(crate) struct Current {
    /// When the certificate expires, as far as this image has read it.
    expires: Option<SystemTime>,
    /// A [`ServerIdentity`] as a file in memory; nothing if an earlier image has given it to gateways.
    certificate: RefCell<Option<OwnedFd>>,
    /// The signer's process.
    pub(crate) handle: Handle,
    signer: Rc<Channel>,
    pulse: Rc<Pulse>,
    /// Ends with the certificate, so that its hold of the channel does too.
    _listening: JoinSet<()>,
}

type Stamps = (Option<Stamp>, Option<Stamp>);

impl Files {
    fn stamps(&self) -> Stamps {
        let of = |path: &PathBuf| fs::metadata(path).ok().as_ref().map(Stamp::of);
        let certificate = of(&self.certificate);
        (certificate, if self.key == self.certificate { certificate } else { of(&self.key) })
    }
}

impl Identity {
    /// Nothing is read yet.
    pub(crate) fn new(config: &Config, run_as: Option<RunAs>) -> Self {
        let files = config.tls.as_ref().map(|tls| Files {
            certificate: tls.certificate.clone(),
            key: tls.key.clone().unwrap_or_else(|| tls.certificate.clone()),
            password: tls.key_password.clone(),
        });
        Self { files, run_as, ..Self::adopted() }
    }

    /// None that is looked after: gateways and signer of an earlier image go on as they are.
    pub(crate) fn adopted() -> Self {
        Self {
            files: None,
            run_as: None,
            seen: Cell::new(None),
            problem: RefCell::default(),
            current: RefCell::default(),
            backoff: RefCell::default(),
        }
    }

    /// Goes on with a signer.
    pub(crate) fn adopt(&self, generation: &Rc<Generation>, role: Role) {
        let pulse = Rc::<Pulse>::default();
        let mut listening = JoinSet::new();
        listening.spawn_local(listen(generation.clone(), role.channel.clone(), pulse.clone()));
        let (handle, signer) = (role.handle(), role.channel.clone());
        let current = Rc::new(Current {
            expires: None,
            certificate: RefCell::default(),
            handle,
            signer,
            pulse,
            _listening: listening,
        });
        spawn_local(keep(generation.clone(), Rc::downgrade(&current), role.process));
        *self.current.borrow_mut() = Some(current);
    }

    /// Why the files can't be used as they are now.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }

    /// Lets go of the certificate; its signer ends.
    pub(crate) fn end(&self) {
        *self.current.borrow_mut() = None;
    }

    /// When the certificate in force expires.
    pub(crate) fn expires(&self) -> Option<SystemTime> {
        self.current.borrow().as_ref()?.expires
    }

    /// What new handshakes use.
    pub(crate) fn in_force(&self) -> Option<Rc<Current>> {
        self.current.borrow().clone()
    }

    /// Reads the files if they have changed. What can't be used is logged once, and what was in force
    /// stays so.
    pub(crate) async fn refresh(&self, generation: &Rc<Generation>) {
        let Some(files) = &self.files else { return };
        let stamps = files.stamps();
        if self.seen.get() == Some(stamps) {
            return;
        }
        self.seen.set(Some(stamps));
        *self.problem.borrow_mut() = None;
        if stamps.0.is_none() {
            return;
        }
        match load(generation, files, self.run_as).await {
            Ok((certificate, expires, signer)) => {
                let mut listening = JoinSet::new();
                let pulse = Rc::<Pulse>::default();
                listening.spawn_local(listen(generation.clone(), signer.channel.clone(), pulse.clone()));
                let signer_channel = signer.channel.clone();
                let current = Rc::new(Current {
                    expires,
                    certificate: RefCell::new(Some(certificate)),
                    handle: signer.handle(),
                    signer: signer_channel,
                    pulse,
                    _listening: listening,
                });
                spawn_local(keep(generation.clone(), Rc::downgrade(&current), signer.process));
                // With the one before, its channel goes, and with that its signer.
                *self.current.borrow_mut() = Some(current);
                introduce_to_all(generation).await;
            }
            Err(reason) => {
                let problem = format!("the certificate {:?} can't be used: {reason}", files.certificate);
                tracing::error!(
                    target: "websockify::identity", message_id = message_id::CERTIFICATE_UNUSABLE, "{problem}",
                );
                *self.problem.borrow_mut() = Some(problem);
            }
        }
    }

    /// Gives gateways another secret of session tickets. One that has died may have been in wrong hands, and
    /// what it knew with it.
    pub(crate) async fn renew_ticket_secret(&self, generation: &Generation) {
        let Some(current) = self.in_force() else { return };
        match current.renew_ticket_secret() {
            Ok(()) => introduce_to_all(generation).await,
            Err(reason) => tracing::error!(
                target: "websockify::identity", "session tickets keep their secret: {reason}",
            ),
        }
    }
}

impl Current {
    fn renew_ticket_secret(&self) -> Result<(), String> {
        let mut certificate = self.certificate.borrow_mut();
        let Some(file) = certificate.take() else { return Ok(()) };
        let mut identity: ServerIdentity = setup::read(file).map_err(|e| e.to_string())?;
        identity.tickets = ticket_secret()?;
        *certificate = Some(setup::file(&identity).map_err(|e| e.to_string())?);
        Ok(())
    }
}

/// Reads both files, and starts a signer that holds the key.
async fn load(
    generation: &Generation,
    files: &Files,
    run_as: Option<RunAs>,
) -> Result<(OwnedFd, Option<SystemTime>, Role), String> {
    let chain = certificates(&files.certificate, "certificate").map_err(|e| e.to_string())?;
    let key_pem = fs::read(&files.key).map_err(|e| format!("cannot read the key {:?}: {e}", files.key))?;
    let expires = chain.first().and_then(|leaf| certificate::not_after(leaf));
    let signer_setup = setup::file(&SignerSetup {
        run_as,
        sandbox: generation.config.sandbox,
        certificate: chain.first().cloned().unwrap_or_default(),
        key_pem,
        password: files.password.as_ref().map(|secret| secret.reveal().to_owned()),
    });
    let (signer, key) = start(generation, signer_setup.map_err(|e| e.to_string())?).await?;
    let certificate = setup::file(&ServerIdentity { chain, key, tickets: ticket_secret()? })
        .map_err(|e: io::Error| e.to_string())?;
    Ok((certificate, expires, signer))
}

/// Fresh random bytes.
fn ticket_secret() -> Result<TicketSecret, String> {
    let mut random = [0; 32];
    match rustix::rand::getrandom(&mut random, GetRandomFlags::empty()) {
        Ok(32) => Ok(TicketSecret::new(random)),
        Ok(_) => Err("the system gave too few random bytes".into()),
        Err(error) => Err(format!("no random bytes: {error}")),
    }
}

async fn start(generation: &Generation, signer_setup: OwnedFd) -> Result<(Role, KeyDescription), String> {
    let role = Role::start("signer", generation.config.sandbox)
        .map_err(|e| format!("cannot start the signer: {e}"))?;
    let prepared = async {
        role.channel.send(&SupervisorToSigner::Setup(signer_setup)).await?;
        role.channel.receive::<SignerToSupervisor>().await
    };
    match timeout(role::START_DEADLINE, prepared).await {
        Ok(Ok(SignerToSupervisor::Ready(level, key))) => {
            generation.confinement.admit(level)?;
            Ok((role, key))
        }
        Ok(Ok(SignerToSupervisor::Failed(reason))) => Err(reason),
        Ok(Ok(_)) => Err("the signer spoke before it was ready".into()),
        Ok(Err(error)) => Err(format!("the signer failed: {error}")),
        Err(_) => Err("the signer was not ready in time".into()),
    }
}

async fn introduce_to_all(generation: &Generation) {
    for gateway in generation.pool.all() {
        // A gateway that can't be told is dead; the one that follows it is told.
        let _ = introduce(generation, &gateway).await;
    }
}

/// Gives a gateway the certificate in force and a channel to its signer, if there is one.
pub(crate) async fn introduce(generation: &Generation, gateway: &Gateway) -> Result<(), ChannelError> {
    let Some(current) = generation.identity.current.borrow().clone() else { return Ok(()) };
    let certificate = match &*current.certificate.borrow() {
        Some(certificate) => certificate.try_clone()?,
        None => return Ok(()),
    };
    let (for_gateway, for_signer) = Channel::pair()?;
    let introduction = SupervisorToSigner::Gateway { id: gateway.id, channel: for_signer };
    let told = current.signer.send(&introduction);
    timeout(role::START_DEADLINE, told).await.map_err(|_| ChannelError::Closed)??;
    let certificate = SupervisorToGateway::Certificate(certificate);
    gateway::tell(generation, gateway, &certificate).await?;
    gateway::tell(generation, gateway, &SupervisorToGateway::Signer(for_gateway)).await
}

/// Hears what a signer says about gateways, until it ends.
async fn listen(generation: Rc<Generation>, signer: Rc<Channel>, pulse: Rc<Pulse>) {
    loop {
        match signer.receive().await {
            Ok(SignerToSupervisor::Violation(violation)) => {
                violation::accused(&generation, "signer", &violation);
            }
            Ok(SignerToSupervisor::Pong) => pulse.heard(),
            Ok(SignerToSupervisor::Ready(..) | SignerToSupervisor::Failed(_)) => {
                unreachable!("the channel accepts it once")
            }
            // Whoever waits for its process sees that end.
            Err(ChannelError::Closed) => return,
            Err(error) => return pulse.broken(error.to_string()),
        }
    }
}

/// Waits until the signer of a certificate in force hangs.
async fn hangs(generation: &Generation, current: &Weak<Current>) {
    let silent = liveness::until_silent(&generation.service, async || {
        // One that was replaced ends by itself, and must not be kept by us.
        let Some((channel, pulse)) = current.upgrade().map(|one| (one.signer.clone(), one.pulse.clone()))
        else {
            return std::future::pending().await;
        };
        pulse.ask(&channel, &SupervisorToSigner::Ping).await;
    });
    silent.await;
}

/// Waits for the end of a signer. One that was replaced ends by itself; when the one in force dies,
/// the files are read anew, since nobody else has the key.
async fn keep(generation: Rc<Generation>, current: Weak<Current>, mut signer: Process) {
    let since = Instant::now();
    let pulse = current.upgrade().map(|current| current.pulse.clone()).unwrap_or_default();
    let status = tokio::select! {
        status = signer.wait() => status.ok(),
        fault = pulse.fault() => {
            tracing::error!(target: "websockify::identity", "killed the signer (pid {}): {fault}", signer.pid);
            signer.send_kill();
            signer.wait().await.ok()
        }
        () = hangs(&generation, &current) => {
            tracing::error!(target: "websockify::identity", "the signer (pid {}) hangs", signer.pid);
            signer.send_kill();
            signer.wait().await.ok()
        }
    };
    if generation.service.stopping.get() || generation.is_retired() || current.upgrade().is_none() {
        return;
    }
    tracing::error!(
        target: "websockify::identity",
        message_id = message_id::ROLE_DIED,
        websockify_role = "signer",
        websockify_worker_pid = signer.pid,
        "the signer (pid {}) is gone ({}); starting another",
        signer.pid, role::describe(status),
    );
    drop(current);
    let identity = &generation.identity;
    *identity.current.borrow_mut() = None;
    // One that dies again and again is started at longer and longer intervals.
    let mut backoff = identity.backoff.take().unwrap_or_else(Backoff::new);
    while identity.current.borrow().is_none()
        && !generation.service.stopping.get()
        && !generation.is_retired()
    {
        backoff.pause(since.elapsed()).await;
        identity.seen.set(None);
        Box::pin(identity.refresh(&generation)).await;
    }
    identity.backoff.replace(Some(backoff));
}
