//! The model: possible events, the true state of connections, and the promises about them.

#![allow(clippy::cast_possible_truncation, reason = "numbers up to four")]

use common::ipc::GatewayId;

use crate::state::connections::machine::{Effects, Event, GatewayReport, State};

pub(super) type Step = fn(State, Event) -> (State, Effects);

/// Maximum number of connections.
pub(super) const CONNECTIONS: usize = 2;

/// Number of gateways. Each is replaced at most once.
pub(super) const GATEWAYS: usize = 2;

/// Index of the correct gateway.
pub(super) const HONEST: usize = 1;

/// Participants of a search.
#[derive(Clone, Copy)]
pub(super) struct Cast {
    pub(super) connections: usize,
    /// Generation of each gateway. Each generation has a connector.
    pub(super) generations: [usize; GATEWAYS],
    /// Maximum replacements of gateways and of connectors.
    pub(super) replacements: (u8, u8),
    /// Connectors lie. Records can't be true then, but must still be in order.
    pub(super) connectors_lie: bool,
}

/// The true state, and the state in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    /// Unused connections are in the state `Over`.
    pub(super) connections: [Connection; CONNECTIONS],
    pub(super) gateways: [Process; GATEWAYS],
    pub(super) connectors: [Process; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Process {
    is_dead: bool,
    /// The process is being killed, and its messages are ignored.
    is_condemned: bool,
    replaced: u8,
}

/// A client's connection under its current number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Connection {
    /// State in the table.
    pub(super) state: State,
    /// The connector has not been asked to settle it yet.
    pub(super) is_asked: bool,
    pub(super) opened: u8,
    pub(super) closed: u8,
    pub(super) truth: Truth,
    /// Number of gateways that died while they had it unread.
    pub(super) deaths: u8,
}

/// The true state of a connection under its current number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Truth {
    /// The connection was sent to its gateway.
    is_held: bool,
    has_acknowledged: bool,
    said_lost: bool,
    said_ended: bool,
    ticket: Ticket,
    /// A target was dialled, and the connector has not reported it yet.
    untold: bool,
    /// The connector has reported the target.
    told: bool,
    /// A connector died before it reported the target.
    forgotten: bool,
    /// A connector has died since the connection was handed over.
    connector_died: bool,
    /// The connector has not confirmed yet that it is settled.
    settles: bool,
}

/// State of a ticket in the connector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Ticket {
    #[default]
    Fresh,
    Spent,
    Over,
}

/// An event of the model.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Offer(usize, usize),
    Deliver(usize),
    FailToDeliver(usize),
    Say(usize, usize, GatewayReport),
    /// A gateway requests a target, which is reachable or not.
    Ask(usize, usize, bool),
    Forget(usize),
    TellDialled(usize),
    TellSettled(usize),
    /// The connector reports a dial or a settlement that did not happen.
    Lie(usize, Event),
    Overdue(usize),
    GatewayDies(usize),
    GatewayStarts(usize),
    ConnectorDies(usize),
    ConnectorStarts(usize),
}

/// The effect of an event on the table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Connection(usize, Event),
    GatewayGone(GatewayId),
    ConnectorGone(u32),
    ConnectorStarts(u32),
}

pub(super) const REPORTS: [GatewayReport; 5] = [
    GatewayReport::Acknowledged,
    GatewayReport::Lost,
    GatewayReport::Ended { session: false },
    GatewayReport::Ended { session: true },
    GatewayReport::Detail,
];

pub(super) type Broken = String;

impl Cast {
    /// Checks a promise that holds only if connectors tell the truth.
    fn check_truth(self, holds: bool, what: &str) -> Result<(), Broken> {
        check(holds || self.connectors_lie, what)
    }
}

impl World {
    pub(super) fn new(cast: Cast) -> Self {
        let connection = Connection {
            state: State::Waiting { deaths: 0 },
            is_asked: false,
            opened: 0,
            closed: 0,
            truth: Truth::default(),
            deaths: 0,
        };
        let over = Connection { state: State::Over, ..connection };
        let state = |number| if number < cast.connections { connection } else { over };
        Self {
            connections: std::array::from_fn(state),
            gateways: [Process::default(); GATEWAYS],
            connectors: [Process::default(); 2],
        }
    }

    pub(super) fn id(&self, gateway: usize) -> GatewayId {
        GatewayId((gateway + GATEWAYS * usize::from(self.gateways[gateway].replaced)) as u32)
    }

    /// Index of a connection's gateway, and whether it is still the process that got the connection.
    fn place(&self, connection: usize) -> Option<(usize, bool)> {
        let id = self.connections[connection].state.gateway()?;
        let place = id.0 as usize % GATEWAYS;
        Some((place, self.id(place) == id && !self.gateways[place].is_dead))
    }

    /// All events that are possible now.
    pub(super) fn acts(&self, cast: Cast) -> Vec<Act> {
        let mut acts = Vec::new();
        for (number, one) in self.connections.iter().enumerate().take(cast.connections) {
            match one.state {
                State::Waiting { .. } => {
                    let living = |gateway: &usize| {
                        let Process { is_dead, is_condemned, .. } = self.gateways[*gateway];
                        !is_dead && !is_condemned
                    };
                    acts.extend((0..GATEWAYS).filter(living).map(|gateway| Act::Offer(number, gateway)));
                }
                State::Offered { .. } => {
                    acts.push(Act::FailToDeliver(number));
                    if self.place(number).is_some_and(|(_, lives)| lives) {
                        acts.push(Act::Deliver(number));
                    }
                }
                State::Unread { .. } => acts.push(Act::Overdue(number)),
                _ => {}
            }
            let place = self.place(number);
            for gateway in 0..GATEWAYS {
                let Process { is_dead, is_condemned, .. } = self.gateways[gateway];
                let is_own = place == Some((gateway, true));
                let may_say =
                    |report: &GatewayReport| gateway != HONEST || (is_own && one.truth.is_in_order(*report));
                if !is_dead && !is_condemned {
                    let words = REPORTS.into_iter().filter(may_say);
                    acts.extend(words.map(|report| Act::Say(number, gateway, report)));
                }
                let may_ask = gateway != HONEST || one.truth.may_ask();
                let connector = self.connectors[cast.generations[gateway]];
                if is_own && !is_dead && one.truth.is_held && may_ask && !connector.is_dead {
                    acts.push(Act::Ask(number, gateway, true));
                    if cast.connections == 1 {
                        acts.push(Act::Ask(number, gateway, false));
                    }
                }
            }
            if one.is_asked {
                acts.push(Act::Forget(number));
            }
            if cast.connectors_lie
                && place.is_some_and(|(gateway, _)| !self.connectors[cast.generations[gateway]].is_dead)
            {
                acts.extend([Event::Dialled, Event::Settled].map(|event| Act::Lie(number, event)));
            }
            if one.truth.untold {
                acts.push(Act::TellDialled(number));
            } else if one.truth.settles {
                acts.push(Act::TellSettled(number));
            }
        }
        for (number, gateway) in self.gateways.iter().enumerate() {
            if !gateway.is_dead {
                acts.push(Act::GatewayDies(number));
            } else if gateway.replaced < cast.replacements.0 {
                acts.push(Act::GatewayStarts(number));
            }
        }
        for (number, connector) in self.connectors.iter().enumerate() {
            if !cast.generations.contains(&number) {
                continue;
            }
            if !connector.is_dead {
                acts.push(Act::ConnectorDies(number));
            } else if connector.replaced < cast.replacements.1 {
                acts.push(Act::ConnectorStarts(number));
            }
        }
        acts
    }

    /// Applies an event. Returns its effect on the table.
    pub(super) fn act(&mut self, cast: Cast, step: Step, act: Act) -> Result<Option<Op>, Broken> {
        let op = match act {
            Act::Offer(number, gateway) => Op::Connection(number, Event::Offered(self.id(gateway))),
            Act::Deliver(number) => {
                self.connections[number].truth.is_held = true;
                Op::Connection(number, Event::Delivered)
            }
            Act::FailToDeliver(number) => Op::Connection(number, Event::Undelivered),
            Act::Say(number, gateway, report) => {
                let is_own = self.place(number) == Some((gateway, true));
                let truth = &mut self.connections[number].truth;
                if is_own && truth.is_held {
                    truth.has_acknowledged |= report == GatewayReport::Acknowledged;
                    truth.said_lost |= report == GatewayReport::Lost;
                    truth.said_ended |= matches!(report, GatewayReport::Ended { .. });
                }
                Op::Connection(number, Event::Reported(self.id(gateway), report))
            }
            Act::Ask(number, gateway, is_reached) => {
                let truth = &mut self.connections[number].truth;
                match truth.ticket {
                    Ticket::Fresh => {
                        truth.ticket = Ticket::Spent;
                        truth.untold = is_reached;
                    }
                    // The connector reports a violation by the gateway.
                    Ticket::Spent => self.kill_for_fault(cast, gateway, true)?,
                    Ticket::Over => {}
                }
                return Ok(None);
            }
            Act::Forget(number) => {
                let one = &mut self.connections[number];
                one.is_asked = false;
                one.truth.ticket = Ticket::Over;
                one.truth.settles = true;
                return Ok(None);
            }
            Act::TellDialled(number) => {
                let truth = &mut self.connections[number].truth;
                (truth.untold, truth.told) = (false, true);
                Op::Connection(number, Event::Dialled)
            }
            Act::TellSettled(number) => {
                self.connections[number].truth.settles = false;
                Op::Connection(number, Event::Settled)
            }
            Act::Lie(number, event) => {
                self.connections[number].truth.told |= event == Event::Dialled;
                Op::Connection(number, event)
            }
            Act::Overdue(number) => Op::Connection(number, Event::Overdue),
            Act::GatewayDies(gateway) => {
                let id = self.id(gateway);
                self.gateways[gateway].is_dead = true;
                for one in self.connections.iter_mut().filter(|one| one.state.gateway() == Some(id)) {
                    one.deaths += u8::from(one.state.is_unread());
                }
                Op::GatewayGone(id)
            }
            Act::GatewayStarts(gateway) => {
                let replaced = self.gateways[gateway].replaced + 1;
                self.gateways[gateway] = Process { replaced, ..Process::default() };
                return Ok(None);
            }
            Act::ConnectorDies(generation) => {
                self.connectors[generation].is_dead = true;
                for number in self.of_generation(cast, generation) {
                    let one = &mut self.connections[number];
                    one.is_asked = false;
                    let truth = &mut one.truth;
                    truth.forgotten |= truth.untold;
                    (truth.untold, truth.settles, truth.connector_died) = (false, false, true);
                }
                Op::ConnectorGone(generation as u32)
            }
            Act::ConnectorStarts(generation) => {
                let replaced = self.connectors[generation].replaced + 1;
                self.connectors[generation] = Process { replaced, ..Process::default() };
                for number in self.of_generation(cast, generation) {
                    let one = &mut self.connections[number];
                    one.truth.ticket = if one.state.may_have_target() { Ticket::Fresh } else { Ticket::Over };
                }
                Op::ConnectorStarts(generation as u32)
            }
        };
        match op {
            Op::Connection(number, event) => self.apply(cast, step, number, event)?,
            Op::GatewayGone(id) => {
                for number in 0..self.connections.len() {
                    self.apply(cast, step, number, Event::GatewayDied(id))?;
                }
            }
            Op::ConnectorGone(generation) => {
                for number in self.of_generation(cast, generation as usize) {
                    self.apply(cast, step, number, Event::ConnectorDied)?;
                }
            }
            Op::ConnectorStarts(_) => {}
        }
        Ok(Some(op))
    }

    fn of_generation(&self, cast: Cast, generation: usize) -> Vec<usize> {
        let is_of = |number: &usize| {
            let gateway = self.connections[*number].state.gateway();
            gateway.is_some_and(|id| cast.generations[id.0 as usize % GATEWAYS] == generation)
        };
        (0..self.connections.len()).filter(is_of).collect()
    }

    fn kill_for_fault(&mut self, cast: Cast, gateway: usize, is_violation: bool) -> Result<(), Broken> {
        self.gateways[gateway].is_condemned = true;
        cast.check_truth(gateway != HONEST || !is_violation, "an honest gateway is accused")
    }

    /// Applies an event to a connection of the table, and checks its effects.
    fn apply(&mut self, cast: Cast, step: Step, number: usize, event: Event) -> Result<(), Broken> {
        let place = self.place(number);
        let before = self.connections[number].state;
        if before == State::Over {
            cast.check_truth(event != Event::Dialled, "a target that is dialled is in no record")?;
            if let Event::Reported(by, report) = event {
                // A report about a connection that does not exist.
                if report != GatewayReport::Acknowledged {
                    self.kill_for_fault(cast, by.0 as usize % GATEWAYS, true)?;
                }
            }
            return Ok(());
        }
        let (after, effects) = step(before, event);
        let one = &mut self.connections[number];
        one.state = after;
        let truth = one.truth;
        if effects.open {
            one.opened += 1;
            check(one.opened == 1, "two opening records")?;
            let is_claimed = truth.said_ended && truth.connector_died;
            cast.check_truth(truth.told || is_claimed, "a session that nobody has dialled is recorded")?;
        }
        if effects.close {
            one.closed += 1;
            check(one.closed == 1 && one.opened == 1, "a closing record without an opening, or two")?;
        }
        let generation = before.gateway().map(|id| cast.generations[id.0 as usize % GATEWAYS]);
        let no_connector = generation.is_none_or(|generation| self.connectors[generation].is_dead);
        if effects.offer || after == State::Over {
            cast.check_truth(
                !truth.told || (one.opened, one.closed) == (1, 1),
                "a session is given up unrecorded",
            )?;
            let may_come = truth.untold || (truth.is_held && truth.ticket == Ticket::Fresh);
            cast.check_truth(no_connector || !may_come, "a target may still be dialled for it")?;
        }
        if effects.offer {
            check(one.opened == 0, "a session is offered again")?;
            let is_free = truth.said_lost || place.is_none_or(|(_, lives)| !lives);
            check(is_free, "a connection is given to two gateways")?;
            let deaths = one.deaths;
            let state = after;
            *one =
                Connection { state, is_asked: false, opened: 0, closed: 0, truth: Truth::default(), deaths };
        } else if after == State::Over {
            let is_told = truth.has_acknowledged || truth.said_ended || truth.told;
            let is_unread = truth.is_held && !is_told && one.deaths < 2;
            check(!is_unread, "a connection that nobody has begun to read is lost")?;
        }
        if let Some(guilty) = effects.violation {
            self.kill_for_fault(cast, guilty.0 as usize % GATEWAYS, true)?;
        }
        if let Some(guilty) = effects.hangs {
            self.kill_for_fault(cast, guilty.0 as usize % GATEWAYS, false)?;
        }
        if effects.settle {
            if no_connector {
                return self.apply(cast, step, number, Event::Settled);
            }
            self.connections[number].is_asked = true;
        }
        Ok(())
    }

    /// Lets all processes die, or all gateways while the connectors answer. No connection may remain.
    pub(super) fn comes_to_rest(&self, cast: Cast, step: Step, connectors_die: bool) -> Result<(), Broken> {
        let mut world = *self;
        for gateway in 0..GATEWAYS {
            if !world.gateways[gateway].is_dead {
                world.act(cast, step, Act::GatewayDies(gateway))?;
            }
        }
        for generation in 0..2 {
            if connectors_die && !world.connectors[generation].is_dead {
                world.act(cast, step, Act::ConnectorDies(generation))?;
            }
        }
        for number in 0..world.connections.len() {
            let connection = |world: &World| world.connections[number];
            if matches!(connection(&world).state, State::Offered { .. }) {
                world.act(cast, step, Act::FailToDeliver(number))?;
            }
            if connection(&world).is_asked {
                world.act(cast, step, Act::Forget(number))?;
            }
            if connection(&world).truth.untold {
                world.act(cast, step, Act::TellDialled(number))?;
            }
            if connection(&world).truth.settles {
                world.act(cast, step, Act::TellSettled(number))?;
            }
            let state = connection(&world).state;
            check(matches!(state, State::Over | State::Waiting { .. }), "a connection stays for ever")?;
            let Connection { opened, closed, .. } = connection(&world);
            check(opened == closed, "a session without its closing record")?;
        }
        Ok(())
    }
}

impl Truth {
    /// Whether a correct gateway may report this.
    fn is_in_order(self, report: GatewayReport) -> bool {
        let lives = self.is_held && !self.said_lost && !self.said_ended;
        lives
            && match report {
                GatewayReport::Acknowledged => !self.has_acknowledged,
                GatewayReport::Lost => !self.has_acknowledged,
                GatewayReport::Ended { session: true } => self.untold || self.told || self.forgotten,
                GatewayReport::Ended { session: false } => true,
                GatewayReport::Detail => self.has_acknowledged,
            }
    }

    fn may_ask(self) -> bool {
        self.has_acknowledged && !self.said_ended && self.ticket == Ticket::Fresh && !self.forgotten
    }
}

pub(super) fn check(holds: bool, what: &str) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(what.into()) }
}
