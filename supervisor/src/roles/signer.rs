//! The certificate that clients see, and the signer that holds its key.
//!
//! As in the original, the files are checked before each connection is handed over: a certificate that is
//! created late or renewed takes effect for the next client, without a reload.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use common::config::{Config, Sandbox};
use common::ipc::setup::{self, RunAs, SignerSetup};
use common::ipc::signer::{KeyDescription, SignerToSupervisor, SupervisorToSigner};
use common::role::RoleName;

use super::confinement::Confinement;
use super::host::Event;
use super::identity::Identity;
use super::peer::{Fault, Peer, Role};
use super::role_output::About;
use super::scope::Scope;
use super::setup::run_as;
use super::supervise::{self, First, Keeper, Launch, Spec, StartError};
use crate::files::certificate::{Certificate, CertificateFiles};
use crate::os::log::message_id;
use crate::state::service::ServiceState;

/// The certificate of a generation: its files, and the current signer.
#[derive(Debug)]
pub(crate) struct Signer {
    scope: Rc<Scope>,
    files: Option<Rc<CertificateFiles>>,
    keeper: RefCell<Option<Keeper>>,
}

impl Signer {
    /// Creates the state. Nothing is read yet.
    pub(crate) fn new(scope: Rc<Scope>, files: Option<CertificateFiles>) -> Self {
        Self { scope, files: files.map(Rc::new), keeper: RefCell::default() }
    }

    /// Takes over a signer that an earlier image has started.
    pub(crate) fn adopt(&self, role: Role) {
        self.scope.identity.replace(Some(Rc::new(Identity::adopted(role.peer.clone()))));
        let spec = SignerSpec::new(self.scope.clone(), None);
        self.keeper.replace(Some(Keeper::new(spec, Some(role))));
    }

    /// Reads the files if they have changed. If they can't be used, that is logged once, and the previous
    /// certificate stays in force. Otherwise returns the keeper of the previous signer. Dropping it ends the
    /// signer and erases the key from memory, which should happen as soon as every gateway has the new one.
    #[must_use]
    pub(crate) async fn refresh(&self) -> Option<Keeper> {
        let files = self.files.as_ref()?;
        if !files.have_changed().await {
            return None;
        }
        let spec = SignerSpec::new(self.scope.clone(), Some(files.clone()));
        match supervise::start(&*spec).await {
            Ok(role) => self.keeper.replace(Some(Keeper::new(spec, Some(role)))),
            Err(error) => {
                let problem =
                    format!("the certificate {:?} can't be used: {}", files.certificate, error.reason);
                tracing::error!(message_id = message_id::CERTIFICATE_UNUSABLE, "{problem}");
                files.set_problem(problem);
                None
            }
        }
    }

    /// The reason why the current files can't be used, if they can't.
    pub(crate) fn problem(&self) -> Option<String> {
        self.files.as_ref().and_then(|files| files.problem())
    }

    /// Ends the signer.
    pub(crate) fn end(&self) {
        self.scope.identity.replace(None);
        self.keeper.replace(None);
    }
}

/// For `--check`: starts a signer and ends it again. The error is the reason why it can't use the files.
/// Skipped if the calling user may not read them.
pub(crate) async fn try_out(config: &Config) -> Result<(), String> {
    let Some(files) = CertificateFiles::of(config).filter(CertificateFiles::are_readable) else {
        return Ok(());
    };
    // The purpose is to check the files. A sandbox that is unavailable here may be available to the service,
    // as its unit has other limits than the unit of the socket, which runs this check.
    let sandbox = match config.sandbox {
        Sandbox::Strict => Sandbox::BestEffort,
        other => other,
    };
    let (run_as, _) = run_as(config.user.as_deref(), sandbox).map_err(|error| error.to_string())?;
    let trial = Trial { files, run_as, sandbox };
    supervise::start(&trial).await.map(drop).map_err(|error| error.reason)
}

/// The specification of a signer that only checks the files.
#[derive(Debug)]
struct Trial {
    files: CertificateFiles,
    run_as: Option<RunAs>,
    sandbox: Sandbox,
}

impl Launch for Trial {
    const NAME: RoleName = RoleName::Signer;

    fn spawn(&self) -> io::Result<Role> {
        Role::spawn(Self::NAME, self.sandbox, "the signer".into(), About::Itself)
    }

    async fn set_up(&self, peer: &Peer) -> Result<(), StartError> {
        hand_over(&self.files, self.run_as, self.sandbox, peer).await.map(drop)
    }

    async fn first(&self, peer: &Peer) -> Result<First, StartError> {
        Ok(match peer.channel.receive().await? {
            SignerToSupervisor::Ready(level, _) => First::Ready(level),
            SignerToSupervisor::Failed(reason) => First::Failed(reason),
            _ => First::Failed("it sent a message before it was ready".into()),
        })
    }
}

/// Reads the certificate and the key, and passes the key to a signer.
async fn hand_over(
    files: &CertificateFiles,
    run_as: Option<RunAs>,
    sandbox: Sandbox,
    peer: &Peer,
) -> Result<Certificate, StartError> {
    let (certificate, mut key_pem) = files.load().await.map_err(StartError::Failed)?;
    let setup = setup::file(&SignerSetup {
        run_as,
        sandbox,
        certificate: certificate.leaf().to_vec(),
        key_pem: std::mem::take(&mut *key_pem),
        password: files.password.as_ref().map(|secret| secret.reveal().to_owned()),
        only_1_3: files.only_1_3,
    })?;
    peer.channel.send(&SupervisorToSigner::Setup(setup)).await?;
    Ok(certificate)
}

/// The specification of a signer.
#[derive(Debug)]
struct SignerSpec {
    scope: Rc<Scope>,
    /// `None` if an earlier image has started it.
    files: Option<Rc<CertificateFiles>>,
    /// The certificate that was read for the signer that is being started, and the signer's description of
    /// its key.
    loaded: RefCell<Option<(Certificate, Option<KeyDescription>)>>,
}

impl SignerSpec {
    fn new(scope: Rc<Scope>, files: Option<Rc<CertificateFiles>>) -> Rc<Self> {
        Rc::new(Self { scope, files, loaded: RefCell::default() })
    }
}

impl Launch for SignerSpec {
    const NAME: RoleName = RoleName::Signer;

    fn confinement(&self) -> Option<&Confinement> {
        Some(&self.scope.confinement)
    }

    fn spawn(&self) -> io::Result<Role> {
        Role::spawn(Self::NAME, self.scope.sandbox, "the signer".into(), About::Itself)
    }

    /// Reads the files each time, since only a signer keeps the key.
    async fn set_up(&self, peer: &Peer) -> Result<(), StartError> {
        let run_as = self.scope.setups()?.run_as;
        let files = self.files.as_ref().ok_or_else(|| StartError::Failed("it has no files".into()))?;
        let certificate = hand_over(files, run_as, self.scope.sandbox, peer).await?;
        self.loaded.replace(Some((certificate, None)));
        Ok(())
    }

    async fn first(&self, peer: &Peer) -> Result<First, StartError> {
        Ok(match peer.channel.receive().await? {
            SignerToSupervisor::Ready(level, key) => {
                if let Some((_, description)) = &mut *self.loaded.borrow_mut() {
                    *description = Some(key);
                }
                First::Ready(level)
            }
            SignerToSupervisor::Failed(reason) => First::Failed(reason),
            _ => First::Failed("it sent a message before it was ready".into()),
        })
    }

    async fn introduce(&self, peer: &Rc<Peer>) -> Result<(), StartError> {
        let Some((certificate, Some(key))) = self.loaded.take() else {
            return Err(StartError::Failed("it has no configured key".into()));
        };
        let identity = Identity::new(peer.clone(), certificate, key);
        let identity = identity.map_err(StartError::Failed)?;
        self.scope.identity.replace(Some(Rc::new(identity)));
        self.scope.report(Event::IdentityChanged);
        Ok(())
    }
}

impl Spec for SignerSpec {
    type Up = SignerToSupervisor;

    fn state(&self) -> &Rc<ServiceState> {
        &self.scope.state
    }

    fn take(&self, peer: &Rc<Peer>, message: SignerToSupervisor) -> Result<(), Fault> {
        match message {
            SignerToSupervisor::Violation(violation) => {
                self.scope.report(Event::Accused(Self::NAME, violation));
            }
            SignerToSupervisor::Pong => peer.pulse.heard(),
            SignerToSupervisor::Ready(..) | SignerToSupervisor::Failed(_) => return Err(Fault::out_of_turn()),
        }
        Ok(())
    }

    async fn ping(&self, peer: &Peer) {
        peer.pulse.ping(&peer.channel, &SupervisorToSigner::Ping).await;
    }

    async fn clean_up(&self, peer: &Rc<Peer>) -> Option<String> {
        let mut identity = self.scope.identity.borrow_mut();
        if identity.as_ref().is_some_and(|identity| Rc::ptr_eq(&identity.signer, peer)) {
            *identity = None;
        }
        Some(String::new())
    }

    fn is_wanted(&self) -> bool {
        self.scope.is_wanted()
    }
}
