//! State of the service that outlives generations and upgrades.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::{Duration, Instant};

use common::ipc::GatewayId;
use common::ipc::stats::{Durations, Stats};
use common::ticket::Key;
use tokio::sync::{Notify, watch};

use super::connections::{Connections, Todo};
use super::reload_requests::ReloadRequests;
use crate::os::off_loop::OffLoop;

/// Deadline for reading a configuration, and then for the files that it names.
const READ_DEADLINE: Duration = Duration::from_secs(10);

/// State shared by the parts of the supervisor, which all run on one thread.
#[derive(Debug, Default)]
pub(crate) struct ServiceState {
    /// The connections, from accept(2) to their end.
    pub(crate) connections: RefCell<Connections>,
    /// Sums for metrics and status.
    pub(crate) counters: Counters,
    /// Requests to reload or upgrade.
    pub(crate) reload_requests: ReloadRequests,
    /// Effects of connection events that are still to be carried out.
    pub(crate) todo: PendingTodo,
    /// Notified when a connector has connections to settle.
    pub(crate) to_forget: Notify,
    /// Notified when a session begins whose token may be revoked.
    pub(crate) revocable: Notify,
    /// Notified when a session begins that must end by a certain time.
    pub(crate) limited: Notify,
    /// Notified when a gateway may have room again.
    pub(crate) room: Notify,
    /// Set once clients should go elsewhere: the service ends with the last connection.
    pub(crate) draining: Cell<Option<Draining>>,
    /// The service is ending: roles are not started any more.
    pub(crate) stopping: Cell<bool>,
    last_generation: Cell<u32>,
    last_gateway: Cell<u32>,
    began: Cell<Option<Instant>>,
    changed: watch::Sender<()>,
    token_key: RefCell<Option<Key>>,
    /// Where configurations and their files are read.
    pub(crate) readers: Readers,
}

/// The times of a service that drains.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draining {
    /// New clients are still accepted until then.
    pub(crate) accepts_until: Instant,
    /// When the sessions that remain are ended, if ever.
    pub(crate) until: Option<Instant>,
    /// Time over which their end is spread.
    pub(crate) spread: Duration,
}

/// The threads on which starts and reloads read files, one for each kind: while a reload hangs the next one is refused,
/// and leaves no further thread behind.
#[derive(Debug)]
pub(crate) struct Readers {
    /// Reads and checks the configuration, and so looks at every file that it names.
    pub(crate) configuration: OffLoop,
    /// Reads what roles are told, such as the web directory and the authorities of TLS.
    pub(crate) settings: OffLoop,
}

impl Default for Readers {
    fn default() -> Self {
        Self {
            configuration: OffLoop::new("configuration", READ_DEADLINE),
            settings: OffLoop::new("settings", READ_DEADLINE),
        }
    }
}

/// Effects of connection events, collected until the owner of the gateways carries them out.
#[derive(Debug, Default)]
pub(crate) struct PendingTodo {
    waiting: RefCell<Todo>,
    more: Notify,
}

impl PendingTodo {
    /// Waits until there is something to do, and takes it.
    pub(crate) async fn take(&self) -> Todo {
        self.more.notified().await;
        self.waiting.take()
    }
}

/// Sums since the start of the service, across upgrades.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Roles that were killed because they broke protocol.
    pub(crate) violations: Cell<u64>,
    /// Gateways that were started to replace dead ones.
    pub(crate) restarts: Cell<u64>,
    /// Sums of gateways that have ended.
    pub(crate) departed: RefCell<Stats>,
    /// Times to reach targets.
    pub(crate) connects: RefCell<Durations>,
}

/// The state without the connections, for an upgrade.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct ServiceSnapshot {
    last_generation: u32,
    last_gateway: u32,
    violations: u64,
    restarts: u64,
    age: Duration,
    departed: Stats,
    connects: Durations,
    token_key: Option<Key>,
}

impl ServiceState {
    /// Queues the consequences of a connection's event.
    pub(crate) fn leave(&self, todo: Todo) {
        if todo.settle {
            self.to_forget.notify_waiters();
        }
        self.todo.waiting.borrow_mut().and(todo);
        self.todo.more.notify_one();
        self.note_change();
    }

    /// Notifies the receivers of [`Self::changes`] that connections or roles have changed.
    pub(crate) fn note_change(&self) {
        self.changed.send_replace(());
    }

    /// Subscribes to changes of connections and roles.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Waits until `is_so` holds, testing it after every change.
    pub(crate) async fn wait_until(&self, is_so: impl Fn() -> bool) {
        let mut changes = self.changes();
        while !is_so() {
            // The sender lives as long as `self`.
            let _ = changes.changed().await;
        }
    }

    /// The key of the token hashes in session records: one for the life of the service, unless one is configured.
    pub(crate) fn token_key(&self) -> io::Result<Key> {
        let mut key = self.token_key.borrow_mut();
        match &*key {
            Some(key) => Ok(key.clone()),
            None => Ok(key.insert(Key::generate()?).clone()),
        }
    }

    /// Replaces the key of the token hashes.
    pub(crate) fn set_token_key(&self, key: Key) {
        self.token_key.replace(Some(key));
    }

    /// When the service began to serve; the first call sets it.
    pub(crate) fn began(&self) -> Instant {
        let began = self.began.get().unwrap_or_else(Instant::now);
        self.began.set(Some(began));
        began
    }

    /// A number for a new gateway, never used before.
    pub(crate) fn next_gateway(&self) -> GatewayId {
        self.last_gateway.set(self.last_gateway.get() + 1);
        GatewayId(self.last_gateway.get())
    }

    /// A number for a new generation, counted from 1.
    pub(crate) fn next_generation(&self) -> u32 {
        self.last_generation.set(self.last_generation.get() + 1);
        self.last_generation.get()
    }

    /// The state for the next image.
    pub(crate) fn snapshot(&self) -> ServiceSnapshot {
        ServiceSnapshot {
            last_generation: self.last_generation.get(),
            last_gateway: self.last_gateway.get(),
            violations: self.counters.violations.get(),
            restarts: self.counters.restarts.get(),
            age: self.began().elapsed(),
            departed: self.counters.departed.borrow().clone(),
            connects: self.counters.connects.borrow().clone(),
            token_key: self.token_key.borrow().clone(),
        }
    }

    /// Restores the state of an earlier image.
    pub(crate) fn restore(&self, snapshot: ServiceSnapshot) {
        self.last_generation.set(snapshot.last_generation);
        self.last_gateway.set(snapshot.last_gateway);
        self.counters.violations.set(snapshot.violations);
        self.counters.restarts.set(snapshot.restarts);
        self.began.set(Instant::now().checked_sub(snapshot.age));
        self.counters.departed.replace(snapshot.departed);
        self.counters.connects.replace(snapshot.connects);
        self.token_key.replace(snapshot.token_key);
    }
}
