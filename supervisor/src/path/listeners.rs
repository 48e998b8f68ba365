//! The listeners that are open, and how a reload changes them.
//!
//! Sockets that were passed to us stay as they are. Of our own, new ones are opened before anything else
//! changes, and those that are no longer wanted are closed when everything else has changed.

use std::cell::RefCell;
use std::rc::Rc;

use common::addr::ListenAddr;
use common::config::Config;
use tokio::sync::watch;

use crate::path::listen::{self, ListenError, Listening};

/// What to do with clients that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Let them in.
    Accept,
    /// Let them wait.
    Rest,
    /// Let in who has come, then close the listener.
    Finish,
    /// Close the listener.
    Close,
}

/// All that are open.
#[derive(Debug, Default)]
pub(crate) struct Listeners(RefCell<Vec<Open>>);

#[derive(Clone, Debug)]
struct Open {
    listening: Rc<Listening>,
    order: watch::Sender<Order>,
}

/// How the listeners change with a configuration.
#[derive(Debug)]
pub(crate) struct Change {
    opened: Vec<Listening>,
    /// Which of those that are open stay.
    kept: Vec<bool>,
}

impl Listeners {
    /// Takes in a listener; gives it, and the orders by which its clients are let in.
    pub(super) fn add(&self, listening: Listening) -> (Rc<Listening>, watch::Receiver<Order>) {
        let open = Open { listening: Rc::new(listening), order: watch::Sender::new(Order::Accept) };
        let added = (open.listening.clone(), open.order.subscribe());
        self.0.borrow_mut().push(open);
        added
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Rc<Listening>> {
        self.0.borrow().iter().map(|open| open.listening.clone()).collect()
    }

    /// Lets clients wait.
    pub(crate) fn rest(&self) {
        self.tell(Order::Rest);
    }

    /// Lets clients in again.
    pub(crate) fn resume(&self) {
        self.tell(Order::Accept);
    }

    fn tell(&self, order: Order) {
        for open in &*self.0.borrow() {
            open.order.send_replace(order);
        }
    }

    /// Closes all of them.
    pub(crate) fn close(&self) {
        for open in self.0.take() {
            open.order.send_replace(Order::Close);
        }
    }

    /// Where somebody else has made us listen, if that is not where `config` says. Names are not looked up.
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

    /// The port of the first listener under `config` that has one.
    pub(crate) fn port(&self, config: &Config) -> Option<u16> {
        let open = self.0.borrow();
        let passed = open.iter().any(|one| one.listening.address.is_none());
        let wanted = config.listen.iter().find_map(|wanted| match wanted {
            ListenAddr::Tcp { port, .. } if *port != 0 => Some(*port),
            _ => None,
        });
        wanted.filter(|_| !passed).or_else(|| open.iter().find_map(|one| one.listening.port()))
    }

    /// Opens what `config` wants and is not there yet.
    pub(crate) fn prepare(&self, config: &Config) -> Result<Change, ListenError> {
        let open = self.0.borrow();
        if open.iter().any(|one| one.listening.address.is_none()) {
            return Ok(Change { opened: Vec::new(), kept: vec![true; open.len()] });
        }
        let mut kept = vec![false; open.len()];
        let mut missing = Vec::new();
        for wanted in &config.listen {
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
            // One that replaces another at the same port listens beside it for a moment.
            let beside = leaving.iter().filter(|one| one.listening.shares_port(wanted));
            let beside: Vec<_> = beside.map(|one| &*one.listening).collect();
            opened.push(listen::beside(wanted, config, &beside)?);
        }
        Ok(Change { opened, kept })
    }

    /// Brings a change into force, but for the listeners that it has opened, which are given back.
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
