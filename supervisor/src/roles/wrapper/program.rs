//! The wrapped program, whether it runs or not.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::io;
use std::num::NonZeroU16;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use common::config::{Config, Target, Wrap};
use common::ipc::connector::SupervisorToConnector;
use common::ipc::wrapper::{ProgramEnd, ProgramState, WrapperSetup};
use common::log::Escaped;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;

use super::phase::Phase;
use super::port::ReservedPort;
use super::respawn::Respawn;
use super::{environment, library, user};
use crate::os::limits;
use crate::os::network::{Network, within};
use crate::roles::peer::Peer;

/// The program, whether it runs or not.
#[derive(Debug)]
pub(crate) struct Program {
    pub(super) wrap: Wrap,
    pub(super) setup: WrapperSetup,
    /// The port that it is moved to; none if it is started as it is, for targets that are named.
    pub(super) port: Option<ReservedPort>,
    pub(super) network: Option<Rc<Network>>,
    pub(super) state: watch::Sender<ProgramState>,
    /// A session was opened since the program was last started again. The word of it may come after the end
    /// of the run that it was with.
    pub(super) served: Cell<bool>,
    pub(super) respawn: RefCell<Respawn>,
    pub(super) phase: RefCell<Phase>,
    pub(super) stop: Notify,
    pub(super) kept: watch::Sender<Kept>,
    /// The port that the program means to bind; 0 if that is its own business.
    pub(super) old_port: u16,
    /// The user that the program runs as.
    pub(super) uid: u32,
}

/// Whether the program is being kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kept {
    /// It was not started.
    #[default]
    Idle,
    /// It is.
    Running,
    /// It was stopped.
    Stopped,
    /// It has ended, and the service is to end with it.
    Ended(ProgramEnd),
}

/// Why a program can't be wrapped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WrapError {
    /// The preloaded library is missing.
    #[error(transparent)]
    Library(#[from] library::LibraryError),
    /// The user to run as.
    #[error(transparent)]
    User(#[from] user::UserError),
    /// Nothing tells which port to move.
    #[error("nothing tells which port {program:?} binds: add `port` to [wrap]")]
    NoPort {
        /// The program.
        program: String,
    },
    /// No port on loopback.
    #[error("cannot reserve a port for the wrapped program: {0}{hint}", hint = hint(.0))]
    Reserve(io::Error),
    /// No network of its own.
    #[error("cannot make a network for the wrapped program, which takes CAP_SYS_ADMIN and CAP_NET_ADMIN: {0}{hint}", hint = hint(.0))]
    Network(io::Error),
    /// The first start failed.
    #[error("cannot start {program:?}: {reason}")]
    Start {
        /// The program.
        program: String,
        /// In the system's words.
        reason: String,
    },
}

/// What an administrator should know of a refusal.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; under systemd the drop-in wrap.conf allows it",
        _ => "",
    }
}

impl Program {
    /// The program of a configuration, if it wraps one: `before`, if that is as it should be, else one that
    /// is ready to be started. `first` is the port of the first listener.
    pub(crate) fn of(
        config: &Config,
        first: Option<u16>,
        before: Option<&Rc<Self>>,
    ) -> Result<Option<Rc<Self>>, WrapError> {
        let Some(wrap) = config.program() else { return Ok(None) };
        let old = match config.target() {
            Target::Wrapped(_) => Some(
                wrap.port
                    .map(NonZeroU16::get)
                    .or(first)
                    .ok_or_else(|| WrapError::NoPort { program: wrap.shown() })?,
            ),
            Target::Static(_) | Target::Tokens(_) | Target::Demo => None,
        };
        let is_same = |before: &&Rc<Self>| before.wrap == *wrap && before.old_port == old.unwrap_or_default();
        if let Some(same) = before.filter(is_same) {
            return Ok(Some(same.clone()));
        }
        Self::prepare(wrap, old, config.timeouts.stop).map(|program| Some(Rc::new(program)))
    }

    /// Moves it from the port `old`, if there is one.
    fn prepare(wrap: &Wrap, old: Option<u16>, grace: Duration) -> Result<Self, WrapError> {
        let library = old.map(|_| library::find()).transpose()?;
        let user = user::find(wrap.user.as_deref())?;
        let network =
            wrap.private_network.then(Network::new).transpose().map_err(WrapError::Network)?.map(Rc::new);
        let reserve = || within(network.as_deref(), ReservedPort::new).map_err(WrapError::Reserve);
        let port = old.map(|_| reserve()).transpose()?;
        let moves = match (&library, old, &port) {
            (Some(library), Some(old), Some(port)) => {
                Some(environment::Move { library, old, new: port.number() })
            }
            _ => None,
        };
        let directories = match &wrap.directory {
            Some(directory) => vec![directory.to_path_buf()],
            None => std::env::current_dir().into_iter().chain(["/".into()]).collect(),
        };
        let setup = WrapperSetup {
            command: wrap.command.clone(),
            environment: environment::of_program(&user, &wrap.environment, moves.as_ref()),
            run_as: user.run_as.clone(),
            directories,
            open_files: limits::started_with(),
            grace,
        };
        Ok(Self {
            wrap: wrap.clone(),
            setup,
            port,
            network,
            state: watch::Sender::default(),
            served: Cell::new(false),
            respawn: RefCell::default(),
            phase: RefCell::default(),
            stop: Notify::new(),
            kept: watch::Sender::default(),
            old_port: old.unwrap_or_default(),
            uid: user.uid,
        })
    }

    /// The port that the program gets, if it is moved.
    pub(crate) fn port(&self) -> Option<u16> {
        self.port.as_ref().map(ReservedPort::number)
    }

    /// Where its port is, if that is a network of its own.
    pub(crate) fn network(&self) -> Option<Rc<Network>> {
        self.network.clone()
    }

    /// The command and the port that the program gets, as the original shows them.
    pub(crate) fn describe(&self) -> String {
        format!("'{}' (port {})", Escaped(&self.wrap.shown()), self.port().unwrap_or_default())
    }

    /// A session was connected to the program.
    pub(crate) fn note_session(&self) {
        self.served.set(true);
    }

    /// Tells a connector how it stands with the program, now and whenever that changes.
    pub(crate) fn keep_telling(&self, connector: &Rc<Peer>) {
        let mut states = self.state.subscribe();
        // The connector ends when its channel does, which must not wait for us.
        let connector = Rc::downgrade(connector);
        spawn_local(async move {
            loop {
                let state = *states.borrow_and_update();
                let Some(connector) = connector.upgrade() else { return };
                if connector.channel.send(&SupervisorToConnector::Program(state)).await.is_err() {
                    return;
                }
                drop(connector);
                if states.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Waits for the end of a program with which the service is to end, and gives its exit status. In
    /// other modes that never comes.
    pub(crate) async fn ended(&self) -> u8 {
        let mut kept = self.kept.subscribe();
        loop {
            if let Kept::Ended(end) = *kept.borrow_and_update() {
                return end.status();
            }
            // The sender lives as long as we do.
            let _ = kept.changed().await;
        }
    }

    /// Ends the program with all its processes.
    pub(crate) async fn stop(&self) {
        self.stop.notify_one();
        let mut kept = self.kept.subscribe();
        while *kept.borrow_and_update() == Kept::Running {
            let _ = kept.changed().await;
        }
    }

    /// The program's name without its directory, for the log.
    pub(super) fn name(&self) -> String {
        name(&self.wrap.command)
    }
}

/// The name of the program that a command starts, for the log.
pub(super) fn name(command: &[OsString]) -> String {
    let program = command.first().map(Path::new).and_then(Path::file_name);
    Escaped(&program.unwrap_or_default().to_string_lossy()).to_string()
}
