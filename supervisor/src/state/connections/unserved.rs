//! Connections that a gateway must still be found for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use common::ipc::{ClientAddr, ConnectionId};

/// A connection to be handed to a gateway.
#[derive(Debug)]
pub(crate) struct Unserved {
    /// Its number.
    pub(crate) id: ConnectionId,
    /// Where it comes from.
    pub(crate) client: ClientAddr,
    /// Its socket.
    pub(crate) socket: OwnedFd,
    /// How many gateways have had it and died.
    pub(crate) tried: u8,
    /// It counts as unplaced while this is there.
    pub(crate) unplaced: Unplaced,
}

/// Lists one connection while it lives.
#[derive(Debug)]
pub(crate) struct Unplaced {
    id: ConnectionId,
    list: Rc<RefCell<BTreeSet<ConnectionId>>>,
}

impl Unplaced {
    pub(super) fn list(id: ConnectionId, list: &Rc<RefCell<BTreeSet<ConnectionId>>>) -> Self {
        list.borrow_mut().insert(id);
        Self { id, list: list.clone() }
    }
}

impl Drop for Unplaced {
    fn drop(&mut self) {
        self.list.borrow_mut().remove(&self.id);
    }
}

/// What is left of the connections of a gateway that has died.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    /// Nobody has read from these: another gateway can serve them.
    pub(crate) unserved: Vec<Unserved>,
    /// So many sessions are lost.
    pub(crate) lost_sessions: usize,
}
