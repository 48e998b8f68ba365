//! The certificate that clients see, and who signs with its key.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::SystemTime;

use common::ipc::setup::{self, ServerIdentity, TicketSecret};
use common::ipc::signer::KeyDescription;
use rustix::rand::GetRandomFlags;

use super::peer::Peer;

/// A certificate in force, and who signs with its key.
#[derive(Debug)]
pub(crate) struct Identity {
    /// When the certificate expires, as far as this image has read it.
    pub(crate) expires: Option<SystemTime>,
    pub(crate) signer: Rc<Peer>,
    /// What gateways are told, with the secret of session tickets; none if an earlier image has given it to the gateways.
    known: RefCell<Option<ServerIdentity>>,
    /// Counts the secrets of session tickets.
    secrets: Cell<u32>,
}

impl Identity {
    /// A certificate and its key, with a fresh secret of session tickets.
    pub(crate) fn new(
        signer: Rc<Peer>,
        chain: Vec<Vec<u8>>,
        key: KeyDescription,
        expires: Option<SystemTime>,
    ) -> Result<Self, String> {
        let identity = ServerIdentity { chain, key, tickets: ticket_secret()? };
        Ok(Self { expires, signer, known: RefCell::new(Some(identity)), secrets: Cell::default() })
    }

    /// That of a signer which an earlier image has started.
    pub(crate) fn adopted(signer: Rc<Peer>) -> Self {
        Self { expires: None, signer, known: RefCell::default(), secrets: Cell::default() }
    }

    /// What gateways need of it, if this image can tell them.
    pub(crate) fn certificate(&self) -> io::Result<Option<OwnedFd>> {
        self.known.borrow().as_ref().map(setup::file).transpose()
    }

    /// Tells one state of an identity from another.
    pub(crate) fn version(&self) -> u64 {
        u64::from(self.signer.pid.unsigned_abs()) << 32 | u64::from(self.secrets.get())
    }

    /// Makes another secret of session tickets.
    pub(crate) fn renew_ticket_secret(&self) -> Result<(), String> {
        let mut known = self.known.borrow_mut();
        let Some(identity) = &mut *known else { return Ok(()) };
        identity.tickets = ticket_secret()?;
        self.secrets.set(self.secrets.get() + 1);
        Ok(())
    }
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
