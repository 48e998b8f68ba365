//! The gateways of a generation: which of them has room, and how many there are.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::config::{Config, Workers};
use common::ipc::gateway::SupervisorToGateway;
use nix::sys::resource::{Resource, getrlimit};

use crate::roles::gateway::{Gateway, GatewaySlot};
use crate::roles::supervise::Keeper;

/// Descriptors that a gateway needs besides its connections.
const RESERVED_DESCRIPTORS: u64 = 16;

/// Descriptors of a connection: the client's and the target's, and the file of a recording.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;
const DESCRIPTORS_PER_RECORDED_CONNECTION: u64 = 3;

/// How often the load of the gateways is looked at, at most.
const LOAD_INTERVAL: Duration = Duration::from_millis(250);

/// Share of a processor above which a gateway counts as busy.
const BUSY: f64 = 0.6;

/// All gateways of a generation.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: RefCell<Vec<(Rc<GatewaySlot>, Keeper)>>,
    /// How many there are at first, and how many there may be.
    bounds: (usize, usize),
    /// Connections that one gateway can have.
    capacity: u64,
    measured: Cell<Option<(Instant, Duration)>>,
    growing: Cell<bool>,
}

impl Pool {
    /// An empty pool with the bounds of `config` and of the limit of open files.
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
        let (slots, measured, growing) = (RefCell::default(), Cell::default(), Cell::default());
        Self { slots, bounds, capacity, measured, growing }
    }

    /// How many gateways there are from the start.
    pub(crate) fn initial(&self) -> usize {
        self.bounds.0
    }

    /// The gateways that are ready.
    pub(crate) fn all(&self) -> Vec<Rc<Gateway>> {
        self.slots.borrow().iter().filter_map(|(slot, _)| slot.ready()).collect()
    }

    /// All places for gateways.
    pub(crate) fn slots(&self) -> Vec<Rc<GatewaySlot>> {
        self.slots.borrow().iter().map(|(slot, _)| slot.clone()).collect()
    }

    /// Takes in a place and what keeps a gateway there.
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

    /// Connections that all have together.
    pub(crate) fn load(&self) -> u64 {
        self.all().iter().map(|gateway| gateway.load.get()).sum()
    }

    /// The gateway with the fewest connections, if it can take one more.
    pub(crate) fn least_loaded(&self) -> Option<Rc<Gateway>> {
        let least = self.all().into_iter().min_by_key(|gateway| gateway.load.get())?;
        (least.load.get() < self.capacity).then_some(least)
    }

    /// Tells every gateway to end its sessions and itself; gives those that were told.
    pub(crate) fn end(&self, how: &SupervisorToGateway) -> Vec<Rc<Gateway>> {
        let gateways = self.all();
        for gateway in &gateways {
            gateway.end(how);
        }
        gateways
    }

    /// Whether all gateways are so busy that one more would help, which is looked at now and then. Who is
    /// told so starts one, and says [`Self::has_grown`].
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

    /// The further gateway is there, or will not come.
    pub(crate) fn has_grown(&self) {
        self.growing.set(false);
    }
}
