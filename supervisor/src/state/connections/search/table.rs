//! The real table beside the model.

#![allow(clippy::cast_possible_truncation, reason = "numbers up to four")]

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use common::ipc::gateway::Ended;
use common::ipc::{ClientAddr, ConnectionId, GatewayId};
use common::networks::Networks;

use super::world::{Cast, Connection, GATEWAYS, Op, World};
use crate::state::connections::machine::{Event, GatewayReport, State};
use crate::state::connections::{Connections, Details, Offered, Todo, tests};

/// The table, and the number of each connection of the model.
pub(super) struct Table {
    connections: Connections,
    ids: Vec<ConnectionId>,
    sockets: HashMap<ConnectionId, OwnedFd>,
}

pub(super) fn some_socket() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

impl Table {
    pub(super) fn new(world: &World, cast: Cast) -> Self {
        let mut connections = Connections::default();
        for generation in cast.generations {
            connections.connector_starts(generation as u32);
        }
        let accept =
            |_: &Connection| connections.accept(ClientAddr::Unix(String::new()), None, false, some_socket());
        let ids = world.connections.iter().map(accept).collect();
        Self { connections, ids, sockets: HashMap::new() }
    }

    pub(super) fn follow(&mut self, op: Op, world: &World, cast: Cast) {
        let table = &mut self.connections;
        let todo = match op {
            Op::GatewayGone(id) => table.gateway_gone(id),
            Op::ConnectorGone(generation) => table.connector_gone(generation),
            Op::ConnectorStarts(generation) => {
                table.connector_starts(generation);
                return;
            }
            Op::Connection(number, event) => {
                let id = self.ids[number];
                match event {
                    Event::Offered(gateway) => {
                        let generation = cast.generations[gateway.0 as usize % GATEWAYS] as u32;
                        let Offered { socket, .. } =
                            table.offer(id, generation, gateway, 0, &Networks::default()).unwrap();
                        self.sockets.insert(id, socket);
                        return;
                    }
                    Event::Delivered => table.delivered(id, self.sockets.remove(&id).unwrap()),
                    Event::Undelivered => table.undelivered(id, self.sockets.remove(&id).unwrap()),
                    Event::Reported(by, GatewayReport::Acknowledged) => {
                        table.acknowledged(id, by);
                        return;
                    }
                    Event::Reported(by, GatewayReport::Lost) => table.lost(id, by),
                    Event::Reported(by, GatewayReport::Ended { session }) => {
                        let session = session.then(tests::some_summary);
                        table.ended(Ended::new(id, session), by)
                    }
                    Event::Reported(by, GatewayReport::Detail) => {
                        table.reported(id, by, GatewayReport::Detail, Details::default())
                    }
                    Event::Dialled => (0..2).fold(Todo::default(), |mut todo, generation| {
                        todo.and(table.dialled(id, generation, "target".into()));
                        todo
                    }),
                    Event::Settled => (0..2).fold(Todo::default(), |mut todo, generation| {
                        todo.and(table.settled(&[id], generation));
                        todo
                    }),
                    _ => return,
                }
            }
        };
        // Offered connections have new numbers. They are assigned to the model's connections by state alone,
        // as waiting connections differ only in their number of deaths.
        let mut offers: Vec<_> = todo.offers.iter().map(|(id, _)| *id).collect();
        for (number, one) in world.connections.iter().enumerate() {
            if one.state.is_waiting() && !self.connections.entries.contains_key(&self.ids[number]) {
                let at = offers.iter().position(|id| self.connections.entries[id].state == one.state);
                self.ids[number] = offers.remove(at.expect("offered again"));
            }
        }
        assert!(offers.is_empty());
    }

    pub(super) fn compare(&self, world: &World, when: &str) {
        let states = world.connections.iter().map(|one| one.state);
        for (id, state) in self.ids.iter().zip(states.clone()) {
            let known = self.connections.entries.get(id).map_or(State::Over, |entry| entry.state);
            assert_eq!(known, state, "{when}");
        }
        let count = |is_so: &dyn Fn(State) -> bool| states.clone().filter(|state| is_so(*state)).count();
        for gateway in (0..2 * GATEWAYS as u32).map(GatewayId) {
            let load = count(&|state| state.gateway() == Some(gateway));
            assert_eq!(self.connections.load_of(gateway), load as u64, "{when}");
        }
        let totals = self.connections.totals();
        assert_eq!(totals.sessions, count(&State::is_session) as u64, "{when}");
        let ended: u64 = self.connections.ended_sessions().closed_by.values().sum();
        assert_eq!(totals.opened, totals.sessions + ended, "{when}");
        assert_eq!(self.connections.any_unread(), count(&State::is_unread) > 0, "{when}");
        assert_eq!(self.connections.any_waiting(), count(&State::is_waiting) > 0, "{when}");
        assert_eq!(self.connections.is_empty(), count(&|state| state != State::Over) == 0, "{when}");
    }

    pub(super) fn upgrade(&mut self) {
        // A connection that is being sent has no socket here, and no upgrade happens meanwhile.
        if self.sockets.is_empty() {
            let snapshot = self.connections.snapshot(|_| Ok(0)).unwrap();
            self.connections = Connections::default();
            let _ = self.connections.adopt(snapshot, |_| Some(some_socket()));
        }
    }
}
