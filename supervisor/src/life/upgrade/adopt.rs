//! Taking over from an earlier image.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;
use std::rc::Rc;

use common::config::Config;
use common::ipc::channel::Channel;
use common::sys::inherited;
use common::ticket::Mint;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use tokio::task::spawn_local;

use super::{Inheritance, state};
use crate::control;
use crate::os::process::Process;
use crate::path::generation::{self, Generation};
use crate::path::handoff;
use crate::path::listen::Listening;
use crate::roles::gateway;
use crate::roles::role::Role;
use crate::roles::wrapper::{self, Program};
use crate::run::Service;

/// The descriptors that were handed on and that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Descriptors(BTreeMap<RawFd, OwnedFd>);

impl Descriptors {
    /// Takes ownership of all of them. None survives another start of a program.
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

/// Goes on with everything as the earlier image has left it. Its roles can't be started again: what they
/// were told is of its time.
///
/// `control` is where our control socket belongs, and `asked` the reload that completes the upgrade.
pub(crate) fn adopt(
    service: &Rc<Service>,
    config: &Config,
    inheritance: Inheritance,
    control: Option<&Path>,
    asked: u64,
) {
    let Inheritance { state, mut descriptors } = inheritance;
    tracing::info!(
        target: "websockify::upgrade",
        "version {} takes over from version {}", env!("CARGO_PKG_VERSION"), state.program,
    );
    // Before we wait for children, so that the program's last words are still heard.
    let program = state.wrapped.and_then(|handed| {
        let program = wrapper::adopt(handed, |number| descriptors.get(number));
        let lost =
            |error| tracing::error!(target: "websockify::upgrade", "the wrapped program is lost: {error}");
        program.map_err(lost).ok()
    });
    reap();
    service.token_key.replace(state.token_key);
    service.departed.replace(state.departed);
    service.connects.replace(state.connects);
    service.take_over(state.last, state.violations, state.age);
    for pid in state.others {
        // Nobody needs it: dropping it ends it.
        drop(Process::adopt("role", pid));
    }
    service.connections.borrow_mut().adopt(state.connections, |number| descriptors.get(number).ok());
    let in_force = state.generations.last().map(|generation| generation.number);
    for from in state.generations {
        let retired = Some(from.number) != in_force;
        let program = program.clone().filter(|_| from.wraps);
        adopt_generation(service, config, from, program, retired, &mut descriptors);
    }
    let waiting = state.waiting.iter().filter_map(|number| descriptors.get(*number).ok()).collect();
    let listener = state.control.and_then(|number| descriptors.get(number).ok());
    control::adopt(service, control, listener, waiting, asked);
    if let Some(exporter) = state.exporter {
        adopt_exporter(service, &exporter, &mut descriptors);
    }
    for listener in state.listeners {
        match descriptors.get(listener.socket) {
            Ok(socket) => service.listeners.add(service, Listening::adopted(socket, listener.address)),
            Err(error) => {
                tracing::error!(target: "websockify::upgrade", "a listener is lost: {error}");
            }
        }
    }
}

/// Waits for children that have ended while nobody could. Their keepers see the end of their channels.
fn reap() {
    while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
    {
    }
}

fn adopt_generation(
    service: &Rc<Service>,
    config: &Config,
    from: state::Generation,
    program: Option<Rc<Program>>,
    retired: bool,
    descriptors: &mut Descriptors,
) {
    let mint = Mint::new(from.ticket_key, from.ticket_lifetime);
    let generation = Generation::adopted(service, config.clone(), from.number, mint, program);
    service.generations.add(generation.clone());
    let lost = |what: &str, error: io::Error| {
        tracing::error!(target: "websockify::upgrade", "the {what} has ended meanwhile: {error}");
    };
    if let Some(connector) = from.connector {
        match role("connector", &connector, descriptors) {
            Ok(role) => generation.adopt_connector(role),
            Err(error) => lost("connector", error),
        }
    }
    if let Some(signer) = from.signer {
        match role("signer", &signer, descriptors) {
            Ok(role) => generation.identity.adopt(&generation, role),
            Err(error) => lost("signer", error),
        }
    }
    if let Some(echo) = from.echo {
        match role("echo", &echo, descriptors) {
            Ok(role) => generation.adopt_echo(role),
            Err(error) => lost("echo target", error),
        }
    }
    for from in from.gateways {
        let id = common::ipc::GatewayId(from.id);
        let load = service.connections.borrow().load_of(id);
        let started = role("gateway", &from.role, descriptors).and_then(|role| {
            let acknowledgements = descriptors.get(from.acknowledgements)?;
            Ok(gateway::adopt(id, role, acknowledgements, load, from.asked, from.stats))
        });
        match started {
            Ok(started) => {
                generation.pool.add(started.0.clone());
                spawn_local(gateway::keep(generation.clone(), started));
            }
            Err(error) => {
                lost("gateway", error);
                let orphans = service.connections.borrow_mut().orphaned(id);
                for unserved in orphans.unserved {
                    spawn_local(handoff::offer_again(service.clone(), unserved));
                }
            }
        }
    }
    if retired {
        generation.retire();
        generation::limit(&generation, config.timeouts.drain);
    }
}

fn adopt_exporter(service: &Rc<Service>, from: &state::Exporter, descriptors: &mut Descriptors) {
    match descriptors.get(from.listener.socket) {
        Ok(socket) => {
            let listening = Listening::adopted(socket, from.listener.address.clone());
            let role = from.role.as_ref().and_then(|from| role("exporter", from, descriptors).ok());
            service.exporter.adopt(service, listening, role, from.wanted.clone());
        }
        Err(error) => {
            tracing::error!(target: "websockify::upgrade", "the listener for metrics is lost: {error}")
        }
    }
}

fn role(name: &'static str, from: &state::Role, descriptors: &mut Descriptors) -> io::Result<Role> {
    let channel = Channel::adopted(descriptors.get(from.channel)?)?;
    let log = Channel::new(descriptors.get(from.log)?)?;
    Ok(Role::adopt(name, Process::adopt(name, from.pid)?, channel, log))
}
