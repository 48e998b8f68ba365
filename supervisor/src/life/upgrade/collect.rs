//! Writing down what the next image needs.

use std::io;
use std::process;
use std::rc::Rc;

use super::state::{Exporter, Gateway, Generation, Listener, Passed, Role, State, StateError, VERSION};
use crate::os::process::living;
use crate::os::program;
use crate::path::generation;
use crate::roles::gateway;
use crate::roles::role;
use crate::roles::wrapper::{self, Program};
use crate::run::Service;

impl State {
    /// Everything as it is. `passed` gets copies of the descriptors.
    pub(super) fn collect(service: &Service, passed: &mut Passed) -> Result<Self, StateError> {
        let mut listeners = Vec::new();
        for listening in service.listeners.all() {
            let socket = passed.add(&listening.socket)?;
            listeners.push(Listener { socket, address: listening.address.clone() });
        }
        let program = service.program();
        let mut generations = Vec::new();
        for generation in service.generations.all() {
            generations.push(of_generation(&generation, program.as_ref(), passed)?);
        }
        let connections = service.connections.borrow().hand_on(|socket| passed.add(socket))?;
        let (control, waiting) = service.control.hand_on();
        let control = control.map(|listener| passed.add(&*listener)).transpose()?;
        let waiting = waiting.iter().map(|stream| passed.add(&**stream)).collect::<Result<_, _>>()?;
        let exporter = match service.exporter.hand_on() {
            Some((listening, handle, wanted)) => Some(Exporter {
                wanted,
                listener: Listener {
                    socket: passed.add(&listening.socket)?,
                    address: listening.address.clone(),
                },
                role: handle.map(|handle| of_role(&handle, passed)).transpose()?,
            }),
            None => None,
        };
        let wrapped = program.map(|program| program.hand_on(|fd| passed.add(fd))).transpose()?;
        let mut known: Vec<i32> = generations.iter().flat_map(Generation::pids).collect();
        known.extend(exporter.iter().filter_map(|exporter| exporter.role.as_ref()).map(|role| role.pid));
        known.extend(wrapped.as_ref().and_then(wrapper::Handed::pid));
        Ok(Self {
            version: VERSION,
            pid: process::id(),
            program: env!("CARGO_PKG_VERSION").into(),
            listeners,
            control,
            waiting,
            departed: service.departed.borrow().clone(),
            connects: service.connects.borrow().clone(),
            token_key: service.token_key.borrow().clone(),
            exporter,
            connections,
            last: service.last_numbers(),
            violations: service.violations.get(),
            folder: program::first_folder(),
            age: service.began().elapsed(),
            others: living().into_iter().map(|(pid, _)| pid).filter(|pid| !known.contains(pid)).collect(),
            generations,
            wrapped,
            descriptors: passed.numbers(),
        })
    }
}

fn of_generation(
    generation: &Rc<generation::Generation>,
    program: Option<&Rc<Program>>,
    passed: &mut Passed,
) -> io::Result<Generation> {
    let mut gateways = Vec::new();
    for gateway in generation.pool.all() {
        gateways.push(of_gateway(&gateway, passed)?);
    }
    let mut of = |handle: Option<role::Handle>| handle.map(|handle| of_role(&handle, passed)).transpose();
    Ok(Generation {
        number: generation.number,
        ticket_key: generation.mint.key().clone(),
        ticket_lifetime: generation.mint.lifetime(),
        gateways,
        connector: of(generation.connector_handle.borrow().clone())?,
        signer: of(generation.identity.in_force().map(|current| current.handle.clone()))?,
        echo: of(generation.echo_handle.borrow().clone())?,
        // One of an earlier configuration has been ended.
        wraps: program.zip(generation.program.as_ref()).is_some_and(|(one, other)| Rc::ptr_eq(one, other)),
    })
}

fn of_gateway(gateway: &gateway::Gateway, passed: &mut Passed) -> io::Result<Gateway> {
    let role = role::Handle { pid: gateway.pid, channel: gateway.channel.clone(), log: gateway.log.clone() };
    Ok(Gateway {
        id: gateway.id.0,
        role: of_role(&role, passed)?,
        acknowledgements: passed.add(&gateway.acknowledgements)?,
        asked: gateway.asked_for(),
        stats: gateway.stats.borrow().clone(),
    })
}

fn of_role(handle: &role::Handle, passed: &mut Passed) -> io::Result<Role> {
    Ok(Role { pid: handle.pid, channel: passed.add(&*handle.channel)?, log: passed.add(&*handle.log)? })
}
