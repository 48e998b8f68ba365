//! The certificate in force, with its signer.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::SystemTime;

use common::ipc::setup::{self, ServerIdentity, TicketSecret};
use common::ipc::signer::KeyDescription;
use rustix::rand::GetRandomFlags;

use super::peer::Peer;
use crate::files::certificate::Certificate;

/// A certificate in force, with the signer that holds its key.
#[derive(Debug)]
pub(crate) struct Identity {
    /// When the certificate expires; `None` if an earlier image has read it.
    pub(crate) expires: Option<SystemTime>,
    pub(crate) signer: Rc<Peer>,
    /// The data for gateways, with the secret of session tickets; `None` if an earlier image has passed it to
    /// them.
    known: RefCell<Option<ServerIdentity>>,
    /// Counts changes of the secret of session tickets.
    secrets: Cell<u32>,
    /// The secrets of session tickets are configured, and may be those of other machines as well.
    pub(crate) has_shared_secrets: bool,
}

impl Identity {
    /// Creates an identity, with a new secret of session tickets unless secrets are configured.
    pub(crate) fn new(
        signer: Rc<Peer>,
        certificate: Certificate,
        key: KeyDescription,
    ) -> Result<Self, String> {
        let Certificate { chain, expires, ticket_secrets } = certificate;
        let has_shared_secrets = !ticket_secrets.is_empty();
        let tickets = if has_shared_secrets { ticket_secrets } else { vec![ticket_secret()?] };
        let known = RefCell::new(Some(ServerIdentity { chain, key, tickets }));
        Ok(Self { expires, signer, known, secrets: Cell::default(), has_shared_secrets })
    }

    /// Creates the identity of a signer that an earlier image has started.
    pub(crate) fn adopted(signer: Rc<Peer>) -> Self {
        Self {
            expires: None,
            signer,
            known: RefCell::default(),
            secrets: Cell::default(),
            has_shared_secrets: false,
        }
    }

    /// The data for gateways as a memory file, if this image has it.
    pub(crate) fn certificate(&self) -> io::Result<Option<OwnedFd>> {
        self.known.borrow().as_ref().map(setup::file).transpose()
    }

    /// Identifies a state of the identity: it differs after each change of signer or secret.
    pub(crate) fn version(&self) -> u64 {
        u64::from(self.signer.pid.unsigned_abs()) << 32 | u64::from(self.secrets.get())
    }

    /// Replaces the secret of session tickets, which must not be configured.
    pub(crate) fn renew_ticket_secret(&self) -> Result<(), String> {
        let mut known = self.known.borrow_mut();
        let Some(identity) = &mut *known else { return Ok(()) };
        identity.tickets = vec![ticket_secret()?];
        self.secrets.set(self.secrets.get() + 1);
        Ok(())
    }
}

/// Generates random bytes.
fn ticket_secret() -> Result<TicketSecret, String> {
    let mut random = [0; 32];
    match rustix::rand::getrandom(&mut random, GetRandomFlags::empty()) {
        Ok(32) => Ok(TicketSecret::new(random)),
        Ok(_) => Err("the system gave too few random bytes".into()),
        Err(error) => Err(format!("no random bytes: {error}")),
    }
}
