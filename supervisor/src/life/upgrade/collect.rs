//! Collects the state for the next image.

use std::io;
use std::process;
use std::rc::Rc;

use super::state::{
    ControlSocket, Exporter, Gateway, Generation, Listener, Passed, State, StateError, VERSION,
};
use crate::control::Control;
use crate::control::exporter::Handover;
use crate::os::process::living;
use crate::os::program;
use crate::path::generation;
use crate::path::listen::Listening;
use crate::roles::peer::Peer;
use crate::roles::wrapper::{Program, ProgramSnapshot};

impl State {
    /// The state of the service. `passed` receives copies of its descriptors.
    pub(super) fn collect(control: &Control, passed: &mut Passed) -> Result<Self, StateError> {
        let intake = &control.intake;
        let mut listeners = Vec::new();
        for listening in intake.listeners.all() {
            listeners.push(of_listener(&listening, passed)?);
        }
        let program = intake.generations.program();
        let mut generations = Vec::new();
        for generation in intake.generations.all() {
            generations.push(of_generation(&generation, program.as_ref(), passed)?);
        }
        let connections = intake.state.connections.borrow().snapshot(|socket| passed.add(socket))?;
        let (listener, waiting) = control.snapshot();
        let control_socket = match listener {
            Some(listener) => Some(ControlSocket {
                socket: passed.add(&*listener)?,
                file: passed.add_file(control.file().as_ref())?,
            }),
            None => None,
        };
        let waiting = waiting.iter().map(|stream| passed.add(&**stream)).collect::<Result<_, _>>()?;
        let exporter = match control.exporter.snapshot() {
            Some(Handover { doors, peer, wanted }) => Some(Exporter {
                listeners: doors
                    .iter()
                    .map(|door| Ok((door.protocol, of_listener(&door.listening, passed)?)))
                    .collect::<io::Result<_>>()?,
                role: peer.map(|peer| passed.add_role(&peer)).transpose()?,
                wanted,
            }),
            None => None,
        };
        let wrapped = program.map(|program| program.snapshot(|fd| passed.add(fd))).transpose()?;
        let mut others = living();
        for pid in generations.iter().flat_map(Generation::pids) {
            others.remove(&pid);
        }
        for pid in exporter.iter().filter_map(|exporter| exporter.role.as_ref()).map(|role| role.pid) {
            others.remove(&pid);
        }
        if let Some(pid) = wrapped.as_ref().and_then(ProgramSnapshot::pid) {
            others.remove(&pid);
        }
        Ok(Self {
            version: VERSION,
            messages: common::ipc::wire::VERSION,
            pid: process::id(),
            program: env!("CARGO_PKG_VERSION").into(),
            directory: program::first_directory(),
            listeners,
            generations,
            connections,
            service: intake.state.snapshot(),
            control: control_socket,
            waiting,
            exporter,
            wrapped,
            others: others.into_iter().collect(),
            descriptors: passed.numbers(),
        })
    }
}

fn of_listener(listening: &Listening, passed: &mut Passed) -> io::Result<Listener> {
    Ok(Listener {
        socket: passed.add(&listening.socket)?,
        address: listening.address.clone(),
        file: passed.add_file(listening.file.as_ref())?,
    })
}

fn of_generation(
    generation: &Rc<generation::Generation>,
    program: Option<&Rc<Program>>,
    passed: &mut Passed,
) -> io::Result<Generation> {
    let mut gateways = Vec::new();
    for gateway in generation.pool.all() {
        gateways.push(Gateway {
            role: passed.add_role(&gateway.peer)?,
            acknowledgements: passed.add(&gateway.acknowledgements)?,
            gateway: gateway.snapshot(),
        });
    }
    let mut of = |peer: Option<Rc<Peer>>| peer.map(|peer| passed.add_role(&peer)).transpose();
    let connector = generation.scope.connector.borrow().clone();
    let (sockets, unanswered) = generation.sockets.snapshot(connector.as_ref().map(|peer| peer.pid));
    let signer = generation.scope.identity.borrow().as_ref().map(|identity| identity.signer.clone());
    Ok(Generation {
        number: generation.number,
        ticket_key: generation.mint.key().clone(),
        token_key: generation.token_key().clone(),
        ticket_lifetime: generation.mint.lifetime(),
        gateways,
        connector: of(connector)?,
        sockets,
        unanswered,
        signer: of(signer)?,
        echo: of(generation.echo.borrow().clone())?,
        plugins: generation.plugin_pids(),
        // A wrapped program of an earlier configuration has been ended.
        wraps: program.zip(generation.program.as_ref()).is_some_and(|(one, other)| Rc::ptr_eq(one, other)),
    })
}
