//! Takes over from an earlier image of the program.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;
use std::rc::Rc;

use common::config::Config;
use common::role::RoleName;
use common::sys::inherited;
use common::ticket::Mint;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::{Inheritance, state};
use crate::control::exporter::Door;
use crate::control::{self, Control};
use crate::os::process::Process;
use crate::os::socket_file::SocketFile;
use crate::path::accept;
use crate::path::generation::Generation;
use crate::path::listen::Listening;
use crate::roles::peer::{Ends, Role};
use crate::roles::plugin;
use crate::roles::role_output::About;
use crate::roles::wrapper::{self, Program};

/// Inherited descriptors that have no owner yet.
#[derive(Debug)]
pub(super) struct Descriptors(BTreeMap<RawFd, OwnedFd>);

impl Descriptors {
    /// Takes ownership of all of them, and sets close-on-exec.
    pub(super) fn take(numbers: &[RawFd]) -> io::Result<Self> {
        numbers
            .iter()
            .map(|number| Ok((*number, inherited::take(*number)?)))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    fn get(&mut self, number: RawFd) -> io::Result<OwnedFd> {
        self.0
            .remove(&number)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "a descriptor is missing"))
    }
}

/// Takes over the service from an earlier image. Its roles can't be started again, because their setups
/// belong to that image.
///
/// `path` is the path of the control socket. `asked` is the number of the reload that completes the upgrade.
pub(crate) fn adopt(
    control: &Rc<Control>,
    config: &Config,
    inheritance: Inheritance,
    path: Option<&Path>,
    asked: u64,
) {
    let Inheritance { state, mut descriptors } = inheritance;
    let intake = &control.intake;
    let ours = env!("CARGO_PKG_VERSION");
    tracing::info!("version {ours} takes over from version {}", state.program);
    // Done before children are reaped, so that the last messages of the program are read.
    let program = state.wrapped.and_then(|snapshot| {
        let program = wrapper::adopt(snapshot, |number| descriptors.get(number));
        program.map_err(|error| tracing::error!("the wrapped program is lost: {error}")).ok()
    });
    reap();
    intake.state.restore(state.service);
    for pid in state.others {
        // No longer needed. Dropping it ends the process.
        drop(Process::adopt(pid));
    }
    let mut connections = intake.state.connections.borrow_mut();
    let todo = connections.adopt(state.connections, |number| descriptors.get(number).ok());
    drop(connections);
    intake.state.leave(todo);
    let in_force = state.generations.last().map(|generation| generation.number);
    for from in state.generations {
        let is_retired = Some(from.number) != in_force;
        let program = program.clone().filter(|_| from.wraps);
        let generation = adopt_generation(control, config, from, program, &mut descriptors);
        if is_retired {
            generation.retire();
            generation.limit(config.timeouts.drain);
        }
    }
    let waiting = state.waiting.iter().filter_map(|number| descriptors.get(*number).ok()).collect();
    let listener = state.control.and_then(|from| {
        let socket = descriptors.get(from.socket).ok()?;
        Some((socket, from.file.and_then(|file| socket_file(file, &mut descriptors))))
    });
    control::adopt(control, path, listener, waiting, asked);
    if let Some(exporter) = state.exporter {
        adopt_exporter(control, exporter, &mut descriptors);
    }
    for listener in state.listeners {
        match listening(listener, &mut descriptors) {
            Ok(listening) => accept::begin(intake, listening),
            Err(error) => tracing::error!("a listener is lost: {error}"),
        }
    }
}

/// Reaps children that have ended during the exec. Their keepers notice that their channels are closed.
fn reap() {
    while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
    {
    }
}

fn adopt_generation(
    control: &Control,
    config: &Config,
    from: state::Generation,
    program: Option<Rc<Program>>,
    descriptors: &mut Descriptors,
) -> Rc<Generation> {
    let intake = &control.intake;
    let mint = Mint::new(from.ticket_key, from.ticket_lifetime);
    let (state, config) = (&intake.state, config.clone());
    let generation =
        Generation::adopted(state, config, from.number, mint, program, from.sockets, from.token_key);
    intake.put_into_force(generation.clone());
    let number = from.number;
    let mut adopt = |name: RoleName, title: &str, from: Option<state::Role>| {
        let about = match name {
            RoleName::Connector => About::Connector(intake.state.clone(), number),
            _ => About::Itself,
        };
        let adopted = role(name, title.into(), &from?, descriptors, about);
        adopted.map_err(|error| tracing::error!("{title} has ended during the upgrade: {error}")).ok()
    };
    match adopt(RoleName::Connector, "the connector", from.connector) {
        Some(role) => generation.adopt_connector(role, from.unanswered),
        None => {
            let todo = intake.state.connections.borrow_mut().connector_gone(from.number);
            intake.state.leave(todo);
        }
    }
    if let Some(role) = adopt(RoleName::Signer, "the signer", from.signer) {
        generation.signer.adopt(role);
    }
    if let Some(role) = adopt(RoleName::Echo, "the echo target", from.echo) {
        generation.adopt_echo(role);
    }
    for from in from.gateways {
        let id = from.gateway.id;
        let adopted = role(
            RoleName::Gateway,
            format!("gateway {id}"),
            &from.role,
            descriptors,
            About::Gateway(intake.state.clone(), id),
        );
        match adopted.and_then(|role| Ok((role, descriptors.get(from.acknowledgements)?))) {
            Ok((role, acknowledgements)) => generation.adopt_gateway(from.gateway, role, acknowledgements),
            Err(error) => {
                tracing::error!("gateway {id} has ended during the upgrade: {error}");
                let todo = intake.state.connections.borrow_mut().gateway_gone(id);
                intake.state.leave(todo);
            }
        }
    }
    // Plugins that have ended meanwhile are omitted.
    let plugins = from.plugins.into_iter().filter_map(|pid| plugin::Running::adopt(pid).ok());
    generation.adopted_plugins.borrow_mut().extend(plugins);
    generation
}

fn adopt_exporter(control: &Control, from: state::Exporter, descriptors: &mut Descriptors) {
    let Some(generation) = control.intake.generations.current() else { return };
    let mut doors = Vec::new();
    for (protocol, listener) in from.listeners {
        match listening(listener, descriptors) {
            Ok(listening) => doors.push(Door { protocol, listening: Rc::new(listening) }),
            Err(error) => tracing::error!("a listener of the exporter is lost: {error}"),
        }
    }
    let title = || "the exporter".to_owned();
    let role =
        from.role.and_then(|from| role(RoleName::Exporter, title(), &from, descriptors, About::Itself).ok());
    control.exporter.adopt(&generation, doors, role, from.wanted);
}

fn listening(from: state::Listener, descriptors: &mut Descriptors) -> io::Result<Listening> {
    let socket = descriptors.get(from.socket)?;
    let file = from.file.and_then(|file| socket_file(file, descriptors));
    Ok(Listening::adopted(socket, from.address, file))
}

/// Without its directory, the file can't be distinguished from others and is left alone.
fn socket_file(from: state::SocketFile, descriptors: &mut Descriptors) -> Option<SocketFile> {
    let directory = descriptors.get(from.directory);
    let file = descriptors.get(from.file);
    SocketFile::adopt(directory.ok()?, file.ok()?, &from.path).ok()
}

fn role(
    name: RoleName,
    title: String,
    from: &state::Role,
    descriptors: &mut Descriptors,
    about: About,
) -> io::Result<Role> {
    let mut get = |number| descriptors.get(number);
    let ends = Ends { channel: get(from.channel)?, log: get(from.log)?, errors: get(from.errors)? };
    Role::adopt(name, title, Process::adopt(from.pid)?, ends, about)
}
