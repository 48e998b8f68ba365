//! External plugins that are programs of the administrator (`docs/reference/plugins.md`).
//!
//! Each runs as a user of its own, without privileges, and has one end of a socket pair. The connector has
//! the other end: questions and answers do not pass through the supervisor. Its standard error goes to the
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
use super::supervise::{EndReport, Kept, RoleError, START_DEADLINE, describe};
pub(crate) use process::Running;

/// A plugin program and how it is started.
#[derive(Debug)]
pub(crate) struct Plugin {
    /// The decision that it makes.
    pub(crate) kind: PluginKind,
    /// Name for the log.
    name: String,
    command: Command,
    source: Option<Secret>,
    /// The user to run as.
    run_as: Option<RunAs>,
    /// Notified when it must be restarted: it hangs, or there is a new connector, which has no connection to
    /// it.
    restart: Notify,
    /// Process id while it runs.
    running: Cell<Option<i32>>,
}

/// The program to start.
#[derive(Debug)]
enum Command {
    /// The administrator's program.
    Program(PathBuf),
    /// A Python class, by its name.
    Class(OsString),
}

impl Plugin {
    /// The plugin programs of a configuration. `roles` is the user of the roles.
    ///
    /// # Errors
    ///
    /// Fails if there is no user to run a plugin as.
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
                // These run as services of their own.
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

    /// Whether it must be ready before clients are accepted: as in the original, a Python class that can't be
    /// loaded prevents the start.
    pub(crate) fn is_class(&self) -> bool {
        matches!(self.command, Command::Class(_))
    }

    /// Restarts the program because it does not answer.
    pub(crate) fn hangs(&self) {
        tracing::error!("{} does not answer any more; restarting it", self.name);
        self.restart();
    }

    /// Ends the program and starts it again.
    pub(crate) fn restart(&self) {
        if self.running.get().is_some() {
            self.restart.notify_one();
        }
    }

    /// Process id while it runs.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.running.get()
    }
}

/// The specification of a plugin program.
#[derive(Debug)]
pub(crate) struct PluginSpec {
    pub(crate) scope: Rc<Scope>,
    pub(crate) plugin: Rc<Plugin>,
}

impl Kept for PluginSpec {
    type Running = Running;

    /// Starts the program and passes its connection to the connector.
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
            // Fails only if the connector is dead. With the next one the program is started again.
            let _ = timeout(START_DEADLINE, connector.channel.send(&told)).await;
        }
        Ok(running)
    }

    async fn wait_for_end(&self, mut running: Running) -> Option<EndReport> {
        self.plugin.running.set(Some(running.pid()));
        let obituary = tokio::select! {
            ended = running.wait() => Some(EndReport {
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
