//! The wrapped program, running or not.

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

/// The wrapped program, running or not.
#[derive(Debug)]
pub(crate) struct Program {
    pub(super) wrap: Wrap,
    pub(super) setup: WrapperSetup,
    /// The port that the program's own port is moved to; `None` if it is started unchanged beside other
    /// targets.
    pub(super) port: Option<ReservedPort>,
    pub(super) network: Option<Rc<Network>>,
    pub(super) state: watch::Sender<ProgramState>,
    /// A session was opened since the program was last restarted. The report may arrive after the end of the
    /// run that served it.
    pub(super) served: Cell<bool>,
    pub(super) respawn: RefCell<Respawn>,
    pub(super) phase: RefCell<Phase>,
    pub(super) stop: Notify,
    pub(super) kept: watch::Sender<Kept>,
    /// The port that the program binds; 0 if its port is not moved.
    pub(super) old_port: u16,
    /// The user that the program runs as.
    pub(super) uid: u32,
}

/// Whether the program is kept running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kept {
    /// The program has not been started.
    #[default]
    Idle,
    /// The program is kept running.
    Running,
    /// The program has been stopped.
    Stopped,
    /// The program has ended, and the service ends with it.
    Ended(ProgramEnd),
}

/// The reason why a program can't be wrapped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WrapError {
    /// The library to preload is missing.
    #[error(transparent)]
    Library(#[from] library::LibraryError),
    /// The user of the program is not valid.
    #[error(transparent)]
    User(#[from] user::UserError),
    /// The port to move is unknown.
    #[error("the port that {program:?} binds is unknown: add `port` to [wrap]")]
    NoPort {
        /// The program.
        program: String,
    },
    /// No loopback port could be reserved.
    #[error("cannot reserve a port for the wrapped program: {0}{hint}", hint = hint(.0))]
    Reserve(io::Error),
    /// The network namespace could not be created.
    #[error(
        "cannot create a network for the wrapped program, which requires CAP_SYS_ADMIN and CAP_NET_ADMIN: \
         {0}{hint}",
        hint = hint(.0)
    )]
    Network(io::Error),
    /// The first start has failed.
    #[error("cannot start {program:?}: {reason}")]
    Start {
        /// The program.
        program: String,
        /// The reason, from the system.
        reason: String,
    },
}

/// Instructions about a missing permission.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; under systemd the drop-in wrap.conf allows it",
        _ => "",
    }
}

impl Program {
    /// Returns the program of a configuration, if there is one: `before` if it has the same settings, else a
    /// new one that has not been started. `first` is the port of the first listener.
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

    /// Prepares a program, whose port `old` is moved if it is given.
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

    /// The port that the program gets, if its port is moved.
    pub(crate) fn port(&self) -> Option<u16> {
        self.port.as_ref().map(ReservedPort::number)
    }

    /// The network namespace of its port, if it has one of its own.
    pub(crate) fn network(&self) -> Option<Rc<Network>> {
        self.network.clone()
    }

    /// The command and the port of the program, in the format of the original.
    pub(crate) fn describe(&self) -> String {
        format!("'{}' (port {})", Escaped(&self.wrap.shown()), self.port().unwrap_or_default())
    }

    /// Notes that a session was connected to the program.
    pub(crate) fn note_session(&self) {
        self.served.set(true);
    }

    /// Reports the state of the program to a connector, now and after each change.
    pub(crate) fn keep_telling(&self, connector: &Rc<Peer>) {
        let mut states = self.state.subscribe();
        // A strong reference would keep the channel open, and thereby the connector alive.
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

    /// Waits for the end of a program with which the service is to end, and returns the exit status. In other
    /// modes this never returns.
    pub(crate) async fn ended(&self) -> u8 {
        let mut kept = self.kept.subscribe();
        loop {
            if let Kept::Ended(end) = *kept.borrow_and_update() {
                return end.status();
            }
            // Never fails: the sender lives as long as `self`.
            let _ = kept.changed().await;
        }
    }

    /// Ends the program with all of its processes.
    pub(crate) async fn stop(&self) {
        self.stop.notify_one();
        let mut kept = self.kept.subscribe();
        while *kept.borrow_and_update() == Kept::Running {
            let _ = kept.changed().await;
        }
    }

    /// Name of the program without its directory, for the log.
    pub(super) fn name(&self) -> String {
        name(&self.wrap.command)
    }
}

/// Name of the program of a command, for the log.
pub(super) fn name(command: &[OsString]) -> String {
    let program = command.first().map(Path::new).and_then(Path::file_name);
    Escaped(&program.unwrap_or_default().to_string_lossy()).to_string()
}
