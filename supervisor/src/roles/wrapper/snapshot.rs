//! Passes the program to another version of the supervisor. The program, its port and its state stay.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::config::{Wrap, WrapMode};
use common::ipc::wrapper::{ProgramEnd, ProgramState, WrapperSetup};
use common::role::RoleName;
use rustix::fd::AsFd;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;

use super::life::Next;
use super::phase::Phase;
use super::port::ReservedPort;
use super::program::{Kept, Program, name};
use super::respawn::Respawn;
use super::run::Run;
use crate::os::network::Network;
use crate::os::process::Process;
use crate::roles::peer::{Ends, Role};
use crate::roles::role_output::About;

/// State of the program for the next image. Descriptors are given by number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProgramSnapshot {
    wrap: Wrap,
    setup: WrapperSetup,
    old_port: u16,
    uid: u32,
    port: Option<Port>,
    network: Option<RawFd>,
    state: ProgramState,
    kept: Kept,
    served: bool,
    respawn: Respawn,
    run: Option<Running>,
}

/// The reserved port.
#[derive(Debug, Serialize, Deserialize)]
struct Port {
    number: u16,
    v4: RawFd,
    v6: Option<RawFd>,
}

/// A run, identified by its wrapper.
#[derive(Debug, Serialize, Deserialize)]
struct Running {
    pid: i32,
    channel: RawFd,
    log: RawFd,
    errors: RawFd,
    lived: Duration,
    /// Status of its first process and time since its end, if it has ended.
    ended: Option<(ProgramEnd, Duration)>,
}

impl ProgramSnapshot {
    /// Process id of the wrapper.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.run.as_ref().map(|run| run.pid)
    }
}

impl Program {
    /// Whether it is being started or ended, so that it can't be passed on at the moment.
    pub(crate) fn is_changing(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Changing)
    }

    /// The complete state for the next image. `pass` returns the number of each descriptor in that image.
    pub(crate) fn snapshot(
        &self,
        mut pass: impl FnMut(BorrowedFd<'_>) -> io::Result<RawFd>,
    ) -> io::Result<ProgramSnapshot> {
        let run = match &*self.phase.borrow() {
            Phase::Idle | Phase::Changing => None,
            Phase::Runs { wrapper, began, ended } => Some(Running {
                pid: wrapper.pid,
                channel: pass(wrapper.channel.as_fd())?,
                log: pass(wrapper.log.as_fd())?,
                errors: pass(wrapper.errors.as_fd())?,
                lived: began.elapsed(),
                ended: ended.map(|(end, at)| (end, at.elapsed())),
            }),
        };
        let mut pass_port = |port: &ReservedPort| {
            let (v4, v6) = port.sockets();
            Ok::<_, io::Error>(Port {
                number: port.number(),
                v4: pass(v4)?,
                v6: v6.map(&mut pass).transpose()?,
            })
        };
        let port = self.port.as_ref().map(&mut pass_port).transpose()?;
        Ok(ProgramSnapshot {
            // The command is in the setup, in a form that need not be UTF-8.
            wrap: Wrap { command: Vec::new(), ..self.wrap.clone() },
            setup: self.setup.clone(),
            old_port: self.old_port,
            uid: self.uid,
            port,
            network: self.network.as_ref().map(|network| pass(network.as_fd())).transpose()?,
            state: *self.state.borrow(),
            kept: *self.kept.borrow(),
            served: self.served.get(),
            respawn: *self.respawn.borrow(),
            run,
        })
    }
}

/// Takes over the program from an earlier image. `take` returns a descriptor by its number.
///
/// # Errors
///
/// Fails if a descriptor is missing. The wrapper then ends the program.
pub(crate) fn adopt(
    snapshot: ProgramSnapshot,
    mut take: impl FnMut(RawFd) -> io::Result<OwnedFd>,
) -> io::Result<Rc<Program>> {
    let ProgramSnapshot { wrap, setup, old_port, uid, port, network, state, kept, served, respawn, run } =
        snapshot;
    let network = network.map(&mut take).transpose()?.map(Network::adopted).map(Rc::new);
    let mut take_port = |port: Port| {
        let v6 = port.v6.map(&mut take).transpose()?;
        Ok::<_, io::Error>(ReservedPort::adopted(port.number, take(port.v4)?, v6))
    };
    let port = port.map(&mut take_port).transpose()?;
    let next = match run {
        Some(run) => Next::Attend(run.adopt(name(&setup.command), &mut take)?),
        None if wrap.mode == WrapMode::Respawn => Next::Start(respawn.last_pause()),
        None => Next::Wait,
    };
    let program = Rc::new(Program {
        wrap: Wrap { command: setup.command.clone(), ..wrap },
        setup,
        port,
        network,
        state: watch::Sender::new(state),
        served: Cell::new(served),
        respawn: RefCell::new(respawn),
        phase: RefCell::default(),
        stop: Notify::new(),
        kept: watch::Sender::new(kept),
        old_port,
        uid,
    });
    if kept == Kept::Running {
        spawn_local(program.clone().keep(next));
    }
    Ok(program)
}

impl Running {
    fn adopt(self, name: String, take: &mut impl FnMut(RawFd) -> io::Result<OwnedFd>) -> io::Result<Run> {
        let ends = Ends { channel: take(self.channel)?, log: take(self.log)?, errors: take(self.errors)? };
        let process = Process::adopt(self.pid)?;
        let role = Role::adopt(RoleName::Wrapper, "the wrapper".into(), process, ends, About::Program(name))?;
        let ago = |time: Duration| Instant::now().checked_sub(time).unwrap_or_else(Instant::now);
        Ok(Run::adopted(role, ago(self.lived), self.ended.map(|(end, time)| (end, ago(time)))))
    }
}
