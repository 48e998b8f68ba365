//! The gateways of a generation: their number, and the choice of the one for a connection.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::config::{Config, Workers};
use common::ipc::GatewayId;
use common::ipc::gateway::SupervisorToGateway;
use nix::sys::resource::{Resource, getrlimit};

use crate::roles::gateway::{Gateway, GatewaySlot};
use crate::roles::supervise::Keeper;
use crate::state::connections::Connections;

/// Descriptors that a gateway needs beside those of its connections.
const RESERVED_DESCRIPTORS: u64 = 16;

/// Descriptors for each connection: client and target, and the file of a recording.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;
const DESCRIPTORS_PER_RECORDED_CONNECTION: u64 = 3;

/// Minimum interval between measurements of the gateways' load.
const LOAD_INTERVAL: Duration = Duration::from_millis(250);

/// Fraction of a processor above which a gateway counts as busy.
const BUSY: f64 = 0.6;

/// Number of connections that a gateway may receive beyond its share.
const HEAD_START: u64 = 8;

/// Whether a gateway has received so many more connections than the one with the fewest that others take
/// precedence, even if they have more open connections. Gateways themselves report the ends of connections:
/// if only open connections counted, a compromised gateway that reports all of its own as ended would attract
/// all clients. With this rule, one of two gateways receives at most five ninths.
fn is_ahead(handed: u64, least: u64) -> bool {
    handed >= least + least / 4 + HEAD_START
}

/// The gateways of a generation.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: RefCell<Vec<(Rc<GatewaySlot>, Keeper)>>,
    /// Minimum and maximum number of gateways.
    bounds: (usize, usize),
    /// Maximum number of connections of one gateway.
    capacity: u64,
    /// Maximum number of connections over all, by the configuration.
    limit: Option<NonZeroU32>,
    /// The gateways for which shares are currently counted.
    sharing: RefCell<Vec<GatewayId>>,
    measured: Cell<Option<(Instant, Duration)>>,
    growing: Cell<bool>,
}

impl Pool {
    /// Creates an empty pool, limited by `config` and by the limit of open files.
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
            limit: config.limits.connections,
            sharing: RefCell::default(),
            measured: Cell::default(),
            growing: Cell::default(),
        }
    }

    /// Maximum number of connections, over all gateways that may be started.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity.saturating_mul(u64::try_from(self.bounds.1).unwrap_or(u64::MAX))
    }

    /// Initial number of gateways.
    pub(crate) fn initial(&self) -> usize {
        self.bounds.0
    }

    /// Number of connections for which there are places once all gateways are there.
    pub(crate) fn places(&self) -> u64 {
        let places = self.capacity.saturating_mul(self.bounds.1 as u64);
        self.limit.map_or(places, |limit| places.min(limit.get().into()))
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

    /// Number of connections of all gateways.
    pub(crate) fn load(&self, connections: &Connections) -> u64 {
        self.all().iter().map(|gateway| connections.load_of(gateway.id)).sum()
    }

    /// Chooses the gateway for the next connection: the one with the fewest connections among those that have
    /// room and are not ahead of their share ([`is_ahead`]).
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

    /// Restarts the counting of shares when a gateway was added or has gone.
    fn count_anew_if_changed(&self, gateways: &[Rc<Gateway>]) {
        let ids: Vec<_> = gateways.iter().map(|gateway| gateway.id).collect();
        if *self.sharing.borrow() != ids {
            gateways.iter().for_each(|gateway| gateway.handed.set(0));
            self.sharing.replace(ids);
        }
    }

    /// Orders every gateway to end its sessions and exit. Returns these gateways.
    pub(crate) fn end(&self, how: &SupervisorToGateway) -> Vec<Rc<Gateway>> {
        let gateways = self.all();
        for gateway in &gateways {
            gateway.end(how);
        }
        gateways
    }

    /// Whether all gateways are so busy that another one would help, measured at intervals. If true, the
    /// caller starts one and then calls [`Self::has_grown`].
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

    /// Notes that the additional gateway has started or failed to.
    pub(crate) fn has_grown(&self) {
        self.growing.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One gateway reports each of its connections as ended, the others report none.
    #[test]
    fn a_gateway_receives_little_more_than_its_share() {
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
