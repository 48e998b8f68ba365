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
    /// A [`ServerIdentity`] as a file in memory; none if an earlier image has given it to the gateways.
    file: RefCell<Option<OwnedFd>>,
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
        let file = setup::file(&identity).map_err(|error| error.to_string())?;
        Ok(Self { expires, signer, file: RefCell::new(Some(file)), secrets: Cell::default() })
    }

    /// That of a signer which an earlier image has started.
    pub(crate) fn adopted(signer: Rc<Peer>) -> Self {
        Self { expires: None, signer, file: RefCell::default(), secrets: Cell::default() }
    }

    /// What gateways need of it, if this image can tell them.
    pub(crate) fn certificate(&self) -> io::Result<Option<OwnedFd>> {
        self.file.borrow().as_ref().map(OwnedFd::try_clone).transpose()
    }

    /// Tells one state of an identity from another.
    pub(crate) fn version(&self) -> u64 {
        u64::from(self.signer.pid.unsigned_abs()) << 32 | u64::from(self.secrets.get())
    }

    /// Makes another secret of session tickets.
    pub(crate) fn renew_ticket_secret(&self) -> Result<(), String> {
        let mut file = self.file.borrow_mut();
        let Some(before) = file.take() else { return Ok(()) };
        let mut identity: ServerIdentity = setup::read(before).map_err(|e| e.to_string())?;
        identity.tickets = ticket_secret()?;
        *file = Some(setup::file(&identity).map_err(|e| e.to_string())?);
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
