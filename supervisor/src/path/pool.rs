//! The gateways of a generation: their number, and which of them has room.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::config::{Config, Workers};
use common::ipc::GatewayId;
use common::ipc::gateway::SupervisorToGateway;
use nix::sys::resource::{Resource, getrlimit};

use crate::roles::gateway::{Gateway, GatewaySlot};
use crate::roles::supervise::Keeper;
use crate::state::connections::Connections;

/// Descriptors that a gateway needs besides those of its connections.
const RESERVED_DESCRIPTORS: u64 = 16;

/// Descriptors of a connection: the client's, the target's, and the file of a recording.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;
const DESCRIPTORS_PER_RECORDED_CONNECTION: u64 = 3;

/// Shortest time between two measurements of the gateways' load.
const LOAD_INTERVAL: Duration = Duration::from_millis(250);

/// Share of a processor above which a gateway counts as busy.
const BUSY: f64 = 0.6;

/// Connections that a gateway may receive beyond its share.
const HEAD_START: u64 = 8;

/// Whether a gateway has received so many more connections than the one that has received the fewest that others take
/// precedence, even if they have more open. A gateway reports the ends of its connections: one that reports each as
/// ended would attract all clients if open connections alone counted. With this rule one of two gateways receives at
/// most five ninths.
fn is_ahead(handed: u64, least: u64) -> bool {
    handed >= least + least / 4 + HEAD_START
}

/// The gateways of a generation.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: RefCell<Vec<(Rc<GatewaySlot>, Keeper)>>,
    /// Initial and largest number of gateways.
    bounds: (usize, usize),
    /// Connections that one gateway can have.
    capacity: u64,
    /// The gateways that took part when shares were last counted.
    sharing: RefCell<Vec<GatewayId>>,
    measured: Cell<Option<(Instant, Duration)>>,
    growing: Cell<bool>,
}

impl Pool {
    /// An empty pool, bounded by `config` and by the limit of open files.
    pub(crate) fn new(config: &Config) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let bounds = match config.workers {
            Workers::Auto => (1, processors),
            Workers::Fixed(count) => (count.into(), count.into()),
        };
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        let each = match config.record {
            Some(_) => DESCRIPTORS_PER_RECORDED_CONNECTION,
            None => DESCRIPTORS_PER_CONNECTION,
        };
        let capacity = (descriptors.saturating_sub(RESERVED_DESCRIPTORS) / each).max(1);
        Self {
            slots: RefCell::default(),
            bounds,
            capacity,
            sharing: RefCell::default(),
            measured: Cell::default(),
            growing: Cell::default(),
        }
    }

    /// The initial number of gateways.
    pub(crate) fn initial(&self) -> usize {
        self.bounds.0
    }

    /// The gateways that are ready.
    pub(crate) fn all(&self) -> Vec<Rc<Gateway>> {
        self.slots.borrow().iter().filter_map(|(slot, _)| slot.ready()).collect()
    }

    /// All slots for gateways.
    pub(crate) fn slots(&self) -> Vec<Rc<GatewaySlot>> {
        self.slots.borrow().iter().map(|(slot, _)| slot.clone()).collect()
    }

    /// Adds a slot and the keeper of its gateway.
    pub(crate) fn add(&self, slot: Rc<GatewaySlot>, keeper: Keeper) {
        self.slots.borrow_mut().push((slot, keeper));
    }

    /// Whether no gateway is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.borrow().iter().all(|(slot, _)| !slot.is_taken())
    }

    /// Ends all gateways at once.
    pub(crate) fn clear(&self) {
        self.slots.take();
    }

    /// Connections of all gateways.
    pub(crate) fn load(&self, connections: &Connections) -> u64 {
        self.all().iter().map(|gateway| connections.load_of(gateway.id)).sum()
    }

    /// The gateway for the next connection: of those with room the one with the fewest connections, unless it has
    /// received more than its share ([`is_ahead`]).
    pub(crate) fn choose(&self, connections: &Connections) -> Option<Rc<Gateway>> {
        let gateways = self.all();
        self.count_anew_if_changed(&gateways);
        let least_handed = gateways.iter().map(|gateway| gateway.handed.get()).min()?;
        let with_load = gateways.into_iter().map(|gateway| (connections.load_of(gateway.id), gateway));
        let (_, chosen) = with_load
            .filter(|(load, _)| *load < self.capacity)
            .min_by_key(|(load, gateway)| (is_ahead(gateway.handed.get(), least_handed), *load))?;
        Some(chosen)
    }

    /// Counts shares from zero again when a gateway has come or gone.
    fn count_anew_if_changed(&self, gateways: &[Rc<Gateway>]) {
        let ids: Vec<_> = gateways.iter().map(|gateway| gateway.id).collect();
        if *self.sharing.borrow() != ids {
            gateways.iter().for_each(|gateway| gateway.handed.set(0));
            self.sharing.replace(ids);
        }
    }

    /// Tells every gateway to end its sessions and itself; gives these gateways.
    pub(crate) fn end(&self, how: &SupervisorToGateway) -> Vec<Rc<Gateway>> {
        let gateways = self.all();
        for gateway in &gateways {
            gateway.end(how);
        }
        gateways
    }

    /// Whether all gateways are so busy that another would help; measured at intervals. The caller then starts one
    /// and calls [`Self::has_grown`].
    pub(crate) fn begin_to_grow(&self) -> bool {
        let gateways = self.all();
        if gateways.len() >= self.bounds.1 || self.growing.get() {
            return false;
        }
        let now = Instant::now();
        if self.measured.get().is_some_and(|(then, _)| now - then < LOAD_INTERVAL) {
            return false;
        }
        let used = gateways.iter().map(|gateway| gateway.processor_time()).sum::<Duration>();
        let Some((then, used_then)) = self.measured.replace(Some((now, used))) else { return false };
        let share = used.saturating_sub(used_then).as_secs_f64() / (now - then).as_secs_f64();
        let grows = share > BUSY * gateways.len() as f64;
        self.growing.set(grows);
        grows
    }

    /// The additional gateway has started, or has failed to.
    pub(crate) fn has_grown(&self) {
        self.growing.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One gateway reports each connection as ended, the others report none.
    #[test]
    fn a_gateway_is_handed_little_more_than_its_share() {
        for (gateways, most) in [(2, 564), (4, 302)] {
            let mut handed = vec![0; gateways];
            for _ in 0..1000 {
                let least = handed.iter().min().copied().unwrap_or(0);
                let load = |gateway: usize, handed: u64| if gateway == 0 { 0 } else { handed };
                let chosen = (0..gateways).min_by_key(|one| {
                    let handed = handed.get(*one).copied().unwrap_or(0);
                    (is_ahead(handed, least), load(*one, handed))
                });
                if let Some(count) = chosen.and_then(|chosen| handed.get_mut(chosen)) {
                    *count += 1;
                }
            }
            assert!(handed.first().is_some_and(|liar| *liar <= most), "{handed:?}");
        }
    }
}
