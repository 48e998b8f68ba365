//! The administrator's programs that decide about clients (`docs/plugins.md`).
//!
//! Each is started as a user of its own, without privilege, with one end of a socket. The connector has the other
//! end: what a program is asked and answers does not come here, but for what it writes to standard error, for the
//! log.

mod process;
mod user;

use std::cell::Cell;
use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;

use common::config::auth::AuthPlugin;
use common::config::external_plugin::ExternalPlugin;
use common::config::token::{TokenPlugin, Tokens};
use common::config::{Config, Secret, Target};
use common::ipc::connector::SupervisorToConnector;
use common::ipc::lookup::PluginKind;
use common::ipc::setup::RunAs;
use common::log::Escaped;
use common::role::RoleName;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::scope::Scope;
use super::setup::SetupError;
use super::supervise::{Kept, Obituary, RoleError, START_DEADLINE, describe};
pub(crate) use process::Running;

/// A program, and what it is started with.
#[derive(Debug)]
pub(crate) struct Plugin {
    /// What it decides.
    pub(crate) kind: PluginKind,
    /// For the log.
    name: String,
    command: Command,
    source: Option<Secret>,
    /// Whom it becomes.
    run_as: Option<RunAs>,
    /// It must be started anew: the connector has found it hung, or there is another connector, which knows
    /// nothing of the one that runs.
    restart: Notify,
    /// Its process, while it runs.
    running: Cell<Option<i32>>,
}

/// What is started.
#[derive(Debug)]
enum Command {
    /// The administrator's program.
    Program(PathBuf),
    /// A class of Python, by its name.
    Class(OsString),
}

impl Plugin {
    /// The programs of a configuration whose roles become `roles`.
    ///
    /// # Errors
    ///
    /// When there is no user to run as.
    pub(crate) fn all(config: &Config, roles: Option<RunAs>) -> Result<Vec<Rc<Self>>, SetupError> {
        let mut external = Vec::new();
        if let Target::Tokens(Tokens { plugin: TokenPlugin::External { plugin, source }, user, .. }) =
            config.target()
        {
            external.push((PluginKind::Targets, plugin, source, user));
        }
        for (place, auth) in (0..).zip(&config.auth) {
            if let AuthPlugin::External { plugin, source } = &auth.plugin {
                external.push((PluginKind::Admission(place), plugin, source, &auth.user));
            }
        }
        let mut all = Vec::new();
        for (kind, plugin, source, user) in external {
            let command = match plugin {
                ExternalPlugin::Program(path) => Command::Program(path.clone()),
                ExternalPlugin::Python(class) => Command::Class(class.into()),
                // Others run it.
                ExternalPlugin::Socket(_) | ExternalPlugin::Http(_) => continue,
            };
            let name = format!("the plugin {}", Escaped(&plugin.to_string()));
            let run_as = user::find(user.as_deref(), roles)?;
            if let Some(warning) = user::warning(run_as, roles) {
                tracing::warn!("{name}: {warning}");
            }
            all.push(Rc::new(Self {
                kind,
                name,
                command,
                source: source.clone(),
                run_as,
                restart: Notify::new(),
                running: Cell::default(),
            }));
        }
        Ok(all)
    }

    /// Whether it must be there before clients come: as in the original a class that can't be loaded ends the start.
    pub(crate) fn is_class(&self) -> bool {
        matches!(self.command, Command::Class(_))
    }

    /// Starts the program again, as it answers no more.
    pub(crate) fn hangs(&self) {
        tracing::error!("{} answers no more; starting it again", self.name);
        self.restart();
    }

    /// Ends the program and starts it again.
    pub(crate) fn restart(&self) {
        if self.running.get().is_some() {
            self.restart.notify_one();
        }
    }

    /// Its process, while it runs.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.running.get()
    }
}

/// What is needed to start a plugin.
#[derive(Debug)]
pub(crate) struct PluginSpec {
    pub(crate) scope: Rc<Scope>,
    pub(crate) plugin: Rc<Plugin>,
}

impl Kept for PluginSpec {
    type Running = Running;

    /// Starts the program and gives the connector its connection.
    async fn start(&self) -> Result<Running, RoleError> {
        let failed = |reason: String| RoleError { role: RoleName::Plugin, reason };
        let Plugin { kind, name, command, source, run_as, .. } = &*self.plugin;
        let source = source.as_ref().map(Secret::reveal);
        let started = process::start(name, command, source, *run_as, self.scope.sandbox);
        let started = started.map_err(|error| failed(format!("cannot start {name}: {error}")))?;
        let (running, socket) = if self.plugin.is_class() {
            started.loaded().await.map_err(|error| failed(format!("cannot use {name}: {error}")))?
        } else {
            started.at_once()
        };
        let connector = self.scope.connector.borrow().clone();
        if let Some(connector) = connector {
            let told = SupervisorToConnector::Plugin { kind: *kind, socket };
            // A connector that can't be told is dead; with the next one the program is started anew.
            let _ = timeout(START_DEADLINE, connector.channel.send(&told)).await;
        }
        Ok(running)
    }

    async fn attend(&self, mut running: Running) -> Option<Obituary> {
        self.plugin.running.set(Some(running.pid()));
        let obituary = tokio::select! {
            ended = running.wait() => Some(Obituary {
                role: RoleName::Plugin,
                title: self.plugin.name.clone(),
                pid: running.pid(),
                cause: describe(ended.ok()),
                loss: String::new(),
            }),
            () = self.plugin.restart.notified() => None,
        };
        self.plugin.running.set(None);
        obituary
    }

    fn is_wanted(&self) -> bool {
        self.scope.is_wanted()
    }
}
