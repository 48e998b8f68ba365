//! The open listeners, and their change by a reload.
//!
//! Passed sockets are never changed. Of configured listeners, new ones are opened before anything else
//! changes, and obsolete ones are closed after everything else has changed.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use common::addr::ListenAddr;
use common::config::Config;
use tokio::sync::watch;

use crate::path::listen::{self, ListenError, Listening};

/// Order to a listener about clients that connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Accept them.
    Accept,
    /// Leave them in the kernel's queue.
    Rest,
    /// Accept those that have connected already, then close the listener.
    Finish,
    /// Close the listener.
    Close,
}

/// The open listeners.
#[derive(Debug, Default)]
pub(crate) struct Listeners(RefCell<Vec<Open>>);

#[derive(Clone, Debug)]
struct Open {
    listening: Rc<Listening>,
    order: watch::Sender<Order>,
}

/// A prepared change of the listeners.
#[derive(Debug)]
pub(crate) struct Change {
    opened: Vec<Listening>,
    /// For each open listener, whether it stays.
    kept: Vec<bool>,
}

impl Listeners {
    /// Adds a listener. Returns it with the channel of its orders.
    pub(super) fn add(&self, listening: Listening) -> (Rc<Listening>, watch::Receiver<Order>) {
        let open = Open { listening: Rc::new(listening), order: watch::Sender::new(Order::Accept) };
        let added = (open.listening.clone(), open.order.subscribe());
        self.0.borrow_mut().push(open);
        added
    }

    /// All open listeners.
    pub(crate) fn all(&self) -> Vec<Rc<Listening>> {
        self.0.borrow().iter().map(|open| open.listening.clone()).collect()
    }

    /// Leaves new clients in the kernel's queues.
    pub(crate) fn rest(&self) {
        self.tell(Order::Rest);
    }

    /// Accepts clients again.
    pub(crate) fn resume(&self) {
        self.tell(Order::Accept);
    }

    fn tell(&self, order: Order) {
        for open in &*self.0.borrow() {
            open.order.send_replace(order);
        }
    }

    /// Closes all listeners.
    pub(crate) fn close(&self) {
        for open in self.0.take() {
            open.order.send_replace(Order::Close);
        }
    }

    /// The addresses of passed sockets, if they differ from those in `config`. Host names are not resolved.
    pub(crate) fn elsewhere(&self, config: &Config) -> Option<String> {
        let open = self.0.borrow();
        let passed: Vec<_> = open.iter().filter(|one| one.listening.address.is_none()).collect();
        if passed.is_empty() || config.listen.is_empty() {
            return None;
        }
        let wanted = |one: &&Open| config.listen.iter().any(|wanted| one.listening.is_at(wanted));
        let all = passed.len() == config.listen.len() && passed.iter().all(wanted);
        let names = || passed.iter().map(|one| one.listening.name.as_str()).collect::<Vec<_>>().join(", ");
        (!all).then(names)
    }

    /// Port of the first TCP listener under `config`.
    pub(crate) fn port(&self, config: &Config) -> Option<u16> {
        let open = self.0.borrow();
        let passed = open.iter().any(|one| one.listening.address.is_none());
        let wanted = config.listen.iter().find_map(|wanted| match &wanted.address {
            ListenAddr::Tcp { port, .. } if *port != 0 => Some(*port),
            _ => None,
        });
        wanted.filter(|_| !passed).or_else(|| open.iter().find_map(|one| one.listening.port()))
    }

    /// Addresses of all TCP listeners, with those that a change opens.
    pub(crate) fn addresses(&self, change: &Change) -> Vec<SocketAddr> {
        let open = self.0.borrow();
        open.iter().map(|open| &*open.listening).chain(&change.opened).filter_map(Listening::tcp).collect()
    }

    /// Opens the listeners of `config` that are not open yet.
    pub(crate) fn prepare(&self, config: &Config) -> Result<Change, ListenError> {
        let open = self.0.borrow();
        if open.iter().any(|one| one.listening.address.is_none()) {
            return Ok(Change { opened: Vec::new(), kept: vec![true; open.len()] });
        }
        let mut kept = vec![false; open.len()];
        let mut missing = Vec::new();
        for wanted in config.listen.iter().map(|listener| &listener.address) {
            let same = |(index, one): &(usize, &Open)| {
                !kept.get(*index).copied().unwrap_or(true) && one.listening.address.as_ref() == Some(wanted)
            };
            let found = open.iter().enumerate().find(same).map(|(index, _)| index);
            match found.and_then(|index| kept.get_mut(index)) {
                Some(kept) => *kept = true,
                None => missing.push(wanted),
            }
        }
        let leaving: Vec<_> =
            open.iter().zip(&kept).filter(|(_, kept)| !**kept).map(|(one, _)| one).collect();
        let mut opened = Vec::new();
        for wanted in missing {
            // A listener that replaces another at the same port listens beside it for a moment.
            let beside = leaving.iter().filter(|one| one.listening.shares_port(wanted));
            let beside: Vec<_> = beside.map(|one| &*one.listening).collect();
            opened.push(listen::beside(wanted, config, &beside)?);
        }
        Ok(Change { opened, kept })
    }

    /// Applies a change. Returns the listeners that it has opened, which do not accept yet.
    pub(crate) fn apply(&self, change: Change, config: &Config) -> Vec<Listening> {
        let mut kept = change.kept.into_iter();
        self.0.borrow_mut().retain(|open| {
            let stays = kept.next().unwrap_or(true);
            if stays {
                open.listening.set_mode(config.listen_mode);
            } else {
                open.order.send_replace(Order::Finish);
            }
            stays
        });
        change.opened
    }
}
