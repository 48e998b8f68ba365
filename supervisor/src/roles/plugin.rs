//! The administrator's programs that decide about clients (`docs/plugins.md`).
//!
//! Each is started as the user that the roles become, without privilege, with one end of a socket as its standard
//! input and output. The connector has the other end: what a program is asked and answers does not come here,
//! but for what it writes to standard error, for the log.

use std::cell::Cell;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::rc::{Rc, Weak};

use common::config::auth::AuthPlugin;
use common::config::external_plugin::ExternalPlugin;
use common::config::token::{TokenPlugin, Tokens};
use common::config::{Config, Secret, Target};
use common::ipc::connector::SupervisorToConnector;
use common::ipc::lookup::PluginKind;
use common::ipc::setup::RunAs;
use common::log::Escaped;
use common::role::RoleName;
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, pipe2};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::scope::Scope;
use super::supervise::{Kept, Obituary, RoleError, START_DEADLINE, describe};
use super::voice::{About, Voice};
use crate::os::process::Process;
use crate::os::program;

/// The variables of ours that a program gets: what it needs to find others and to speak the right language,
/// and what Python needs to find modules.
const ENVIRONMENT: [&str; 9] =
    ["PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV"];

/// Carries the source. Unlike an argument, other users can't see it.
const SOURCE: &str = "WEBSOCKIFY_PLUGIN_SOURCE";

/// Loads classes that were written for the original.
const FOR_PYTHON: &str = "websockify-plugin-python";

/// A program, and what it is started with.
#[derive(Debug)]
pub(crate) struct Plugin {
    /// What it decides.
    pub(crate) kind: PluginKind,
    /// For the log.
    name: String,
    command: Vec<OsString>,
    source: Option<Secret>,
    /// It must be started anew: the connector has found it hung, or there is another connector, which knows
    /// nothing of the one that runs.
    restart: Notify,
    /// Its process, while it runs.
    running: Cell<Option<i32>>,
}

/// A running program, and all that it has started. Killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running(Process);

impl Running {
    /// Goes on with a program that an earlier image has started, until the generation ends.
    pub(crate) fn adopt(pid: i32) -> io::Result<Self> {
        Process::adopt(pid).map(Self)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> i32 {
        self.0.pid
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A group that is gone needs no signal.
        let _ = killpg(Pid::from_raw(self.0.pid), Signal::SIGKILL);
    }
}

impl Plugin {
    /// The programs of a configuration.
    ///
    /// # Errors
    ///
    /// When what loads Python's classes is not installed.
    pub(crate) fn all(config: &Config) -> io::Result<Vec<Rc<Self>>> {
        let mut external = Vec::new();
        if let Target::Tokens(Tokens { plugin: TokenPlugin::External { plugin, source }, .. }) =
            config.target()
        {
            external.push((PluginKind::Targets, plugin, source));
        }
        for (place, auth) in (0..).zip(&config.auth) {
            if let AuthPlugin::External { plugin, source } = &auth.plugin {
                external.push((PluginKind::Admission(place), plugin, source));
            }
        }
        let programs = external.into_iter().map(|(kind, plugin, source)| Self::new(kind, plugin, source));
        programs.filter_map(Result::transpose).collect()
    }

    /// Nothing for a plugin that others run.
    fn new(
        kind: PluginKind,
        plugin: &ExternalPlugin,
        source: &Option<Secret>,
    ) -> io::Result<Option<Rc<Self>>> {
        let command = match plugin {
            ExternalPlugin::Program(path) => vec![path.as_os_str().to_owned()],
            ExternalPlugin::Python(class) => {
                vec![program::shipped(FOR_PYTHON)?.into(), class.into()]
            }
            ExternalPlugin::Socket(_) | ExternalPlugin::Http(_) => return Ok(None),
        };
        let name = format!("the plugin {}", Escaped(&plugin.to_string()));
        Ok(Some(Rc::new(Self {
            kind,
            name,
            command,
            source: source.clone(),
            restart: Notify::new(),
            running: Cell::default(),
        })))
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

    /// Starts the program; gives it and the connector's end of the socket to it.
    fn start(&self, scope: &Scope) -> io::Result<(Running, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (errors, their_errors) = pipe2(OFlag::O_CLOEXEC)?;
        let run_as = scope.setups().map_err(io::Error::other)?.run_as;
        let mut command = program::worker()?;
        command.arg(RoleName::Plugin.as_str()).arg(identity(run_as)).args(&self.command);
        command.env_clear().current_dir(program::first_directory()).process_group(0);
        command.envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(self.source.iter().map(|source| (SOURCE, source.reveal())));
        command.stdin(Stdio::from(OwnedFd::from(theirs.try_clone()?)));
        command.stdout(Stdio::from(OwnedFd::from(theirs))).stderr(Stdio::from(their_errors));
        let running = Running(Process::start(&mut command)?);
        let voice = Voice::new(RoleName::Plugin, &self.name, About::Itself);
        spawn_local(voice.hear_errors(Rc::new(Receiver::from_owned_fd(errors)?), Weak::new()));
        Ok((running, ours.into()))
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
        let started = self.plugin.start(&self.scope);
        let (running, socket) =
            started.map_err(|error| failed(format!("cannot start {}: {error}", self.plugin.name)))?;
        let connector = self.scope.connector.borrow().clone();
        if let Some(connector) = connector {
            let told = SupervisorToConnector::Plugin { kind: self.plugin.kind, socket };
            // A connector that can't be told is dead; with the next one the program is started anew.
            let _ = timeout(START_DEADLINE, connector.channel.send(&told)).await;
        }
        Ok(running)
    }

    async fn attend(&self, mut running: Running) -> Option<Obituary> {
        self.plugin.running.set(Some(running.pid()));
        let obituary = tokio::select! {
            ended = running.0.wait() => Some(Obituary {
                role: RoleName::Plugin,
                title: self.plugin.name.clone(),
                pid: running.0.pid,
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

/// Whom the program becomes, as an argument.
fn identity(run_as: Option<RunAs>) -> String {
    run_as.map_or_else(|| "-".to_owned(), |RunAs { uid, gid }| format!("{uid}:{gid}"))
}
