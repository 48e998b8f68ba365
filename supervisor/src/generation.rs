//! One generation of roles: all that serve under the same reading of the configuration.

use std::cell::RefCell;
use std::rc::Rc;

use common::config::{Config, Target};
use common::ipc::channel::Channel;
use common::ipc::setup::Destination;
use common::ticket::{Key, Mint};
use tokio::task::{JoinSet, spawn_local};

use crate::confinement::Confinement;
use crate::identity::Identity;
use crate::pool::Pool;
use crate::service::{Service, ServiceError};
use crate::setup::{self, Setups};
use crate::tokens::TokenSource;
use crate::{connector, echo, gateway};

/// What belongs to one reading of the configuration.
#[derive(Debug)]
pub(crate) struct Generation {
    /// What it has in common with others.
    pub(crate) service: Rc<Service>,
    /// The configuration that it goes by.
    pub(crate) config: Config,
    /// What its roles are told of it.
    pub(crate) setups: Setups,
    /// How far its roles are confined.
    pub(crate) confinement: Confinement,
    /// Makes the tickets of its connections. No other generation has its key.
    pub(crate) mint: Mint,
    /// Its gateways.
    pub(crate) pool: Pool,
    /// Its connector's channel while that is ready.
    pub(crate) connector: RefCell<Option<Rc<Channel>>>,
    /// The certificate and its signer.
    pub(crate) identity: Identity,
    /// The files of tokens.
    pub(crate) tokens: TokenSource,
    /// Who keeps connector and echo target. They end with the generation.
    keepers: RefCell<JoinSet<()>>,
}

impl Generation {
    /// Starts the roles of a generation and waits until they can serve clients.
    pub(crate) async fn start(service: &Rc<Service>, config: Config) -> Result<Rc<Self>, ServiceError> {
        let (destination, echo_listener) = match &config.target {
            Target::Static(target) => (Destination::Target(target.clone()), None),
            Target::Tokens(tokens) => (Destination::Tokens(setup::token_lookup(&tokens.plugin)), None),
            Target::Demo => {
                let (target, socket) = echo::listen()?;
                (Destination::Target(target), Some(socket))
            }
        };
        let mint = Mint::new(Key::generate()?, setup::ticket_lifetime(&config));
        let setups = Setups::read(&config, destination, mint.key())?;
        let generation = Rc::new(Self {
            service: service.clone(),
            mint,
            pool: Pool::new(&config),
            identity: Identity::new(&config, setups.run_as),
            tokens: TokenSource::new(&config),
            confinement: Confinement::new(&config, setups.run_as),
            config,
            setups,
            connector: RefCell::default(),
            keepers: RefCell::default(),
        });
        if let Some(listener) = echo_listener {
            generation.keepers.borrow_mut().spawn_local(echo::keep(generation.clone(), listener));
        }
        generation.identity.refresh(&generation).await;
        generation.tokens.refresh(&generation).await;
        let first = connector::start(&generation).await?;
        generation.keepers.borrow_mut().spawn_local(connector::keep(generation.clone(), first));
        let mut gateways = Vec::new();
        for _ in 0..generation.pool.initial() {
            gateways.push(gateway::start(&generation).await?);
        }
        for gateway in gateways {
            spawn_local(gateway::keep(generation.clone(), gateway));
        }
        Ok(generation)
    }
}

/// The generations that live.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    /// Oldest first. New connections go to the last.
    living: RefCell<Vec<Rc<Generation>>>,
}

impl Generations {
    /// All of them, oldest first.
    pub(crate) fn all(&self) -> Vec<Rc<Generation>> {
        self.living.borrow().clone()
    }

    /// The one that new connections go to; none before the first is ready.
    pub(crate) fn current(&self) -> Option<Rc<Generation>> {
        self.living.borrow().last().cloned()
    }

    /// New connections go to `generation` from now on.
    pub(crate) fn add(&self, generation: Rc<Generation>) {
        self.living.borrow_mut().push(generation);
    }

    /// Connections of all of them.
    pub(crate) fn load(&self) -> u64 {
        self.living.borrow().iter().map(|generation| generation.pool.load()).sum()
    }
}
