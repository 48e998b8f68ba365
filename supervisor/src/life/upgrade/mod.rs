//! Upgrade: another version of the program takes over in the same process, without ending sessions.
//!
//! The new image is first rehearsed in a process of its own, which starts roles and checks that it can read
//! the state. Then it is executed in this process, with copies of the descriptors that it needs. It takes
//! over everything as it is, accepts clients, and reloads. From then on roles of the new version serve new
//! connections, and roles of the earlier version keep theirs.

mod adopt;
mod collect;
mod state;

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use common::config::Config;
use common::log::Escaped;
use common::sys::inherited;
use nix::sys::signal::{SigSet, SigmaskHow};
use tokio::time::{sleep, timeout};

use crate::control::Control;
use crate::control::exporter::{Exporter, ExporterError};
use crate::os::process::Process;
use crate::os::{log, notify, program};
use crate::path::generation::{Generation, GenerationError};
use crate::path::handoff;
use crate::roles::supervise::describe;
pub(crate) use adopt::adopt;
pub(crate) use state::StateError;
use state::{Passed, State};

/// Environment variable that marks an upgrade. The value is the number of the descriptor with the state, or
/// [`REHEARSAL`].
const VARIABLE: &str = "WEBSOCKIFY_TAKE_OVER";

/// Marks a rehearsal, which gets the state on standard input.
const REHEARSAL: &str = "rehearsal";

/// Time limit of the rehearsal. Each role has a time limit of its own within it.
const REHEARSAL_DEADLINE: Duration = Duration::from_secs(30);

/// Time limits for handing over the waiting connections, and for a wrapped program that is starting or
/// ending.
const SETTLE_DEADLINE: Duration = Duration::from_secs(2);
const SETTLE_PAUSE: Duration = Duration::from_millis(2);

/// Maximum length of a new image's error message in the log, in bytes.
const MAX_COMPLAINT_BYTES: u64 = 2000;

/// The reason why an upgrade has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    /// A system call has failed.
    #[error("{what}: {source}")]
    System {
        /// The attempted operation.
        what: &'static str,
        /// The error of the kernel.
        source: io::Error,
    },
    /// The state of this image can't be serialised.
    #[error(transparent)]
    State(#[from] StateError),
    /// The new image can't take over.
    #[error("{0}")]
    Refused(String),
    /// Connections are waiting for gateways, or the wrapped program is starting or ending.
    #[error(
        "connections are waiting for a gateway, or the wrapped program is being started or ended; try again"
    )]
    Busy,
    /// The service is about to end.
    #[error("the service drains or stops")]
    Stopping,
}

/// The state inherited from an earlier image.
#[derive(Debug)]
pub(crate) struct Inheritance {
    state: State,
    descriptors: adopt::Descriptors,
}

/// How this image was started.
#[derive(Debug)]
pub(crate) enum Start {
    /// A start as a new process.
    Fresh,
    /// A rehearsal of an upgrade.
    Rehearsal,
    /// In the process of an earlier image.
    Inherits(Box<Inheritance>),
}

impl Inheritance {
    /// The directory to which relative paths on the command line refer.
    pub(crate) fn directory(&self) -> &Path {
        &self.state.directory
    }
}

/// Determines how this image was started. Must run before the process opens descriptors of its own.
///
/// # Errors
///
/// Fails if there is a state that this image can't take over.
pub(crate) fn start() -> Result<Start, StateError> {
    let Ok(told) = std::env::var(VARIABLE) else { return Ok(Start::Fresh) };
    if told == REHEARSAL {
        State::read(inherited::take(0)?)?;
        return Ok(Start::Rehearsal);
    }
    let file = told.parse().ok().and_then(|number| inherited::take(number).ok());
    let state = match file.map(State::read) {
        Some(Ok(state)) if state.check_process().is_ok() => state,
        Some(Err(error @ StateError::Version(_))) => return Err(error),
        // A program that was started by the service has inherited and passed on the variable.
        _ => return Ok(Start::Fresh),
    };
    let descriptors = adopt::Descriptors::take(&state.descriptors)?;
    Ok(Start::Inherits(Box::new(Inheritance { state, descriptors })))
}

/// The reason why the roles of this version can't be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RehearsalError {
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    #[error(transparent)]
    Generation(#[from] GenerationError),
    #[error(transparent)]
    Exporter(#[from] ExporterError),
    #[error("{0}")]
    Certificate(String),
}

/// Starts the roles of this version and ends them again.
pub(crate) async fn rehearse(config: Config) -> Result<(), RehearsalError> {
    let generation = Generation::start(&Rc::default(), config, None, Vec::new()).await?;
    let exporter = Exporter::rehearse(&generation).await;
    let problem = generation.signer.problem();
    generation.end();
    exporter?;
    problem.map_or(Ok(()), |reason| Err(RehearsalError::Certificate(reason)))
}

/// Executes the new version of the program in this process. Returns only on failure.
pub(crate) async fn execute(control: &Control) -> UpgradeError {
    if let Err(error) = rehearsal(control).await {
        return error;
    }
    control.intake.listeners.rest();
    let settled = timeout(SETTLE_DEADLINE, async {
        let changes = || control.intake.generations.program().is_some_and(|program| program.is_changing());
        while control.intake.state.connections.borrow().any_waiting() || changes() {
            sleep(SETTLE_PAUSE).await;
        }
    });
    let error = match settled.await {
        // The next image does not know that this one drains.
        Ok(()) if control.intake.is_ending() => UpgradeError::Stopping,
        // From here on, nothing else runs in this image.
        Ok(()) => replace(control),
        Err(_) => UpgradeError::Busy,
    };
    control.intake.listeners.resume();
    error
}

/// Rehearses the new image.
async fn rehearsal(control: &Control) -> Result<(), UpgradeError> {
    let system = |what| move |source| UpgradeError::System { what, source };
    let program = program::path().map_err(system("cannot find the program"))?;
    // A rehearsal gets the text of the state only, without its descriptors.
    let state = State::collect(control, &mut Passed::default())?.write()?;
    let (mut complaints, theirs) = UnixStream::pair().map_err(system("cannot connect to the new version"))?;
    let mut command = Command::new(&program);
    command.args(std::env::args_os().skip(1)).env(VARIABLE, REHEARSAL);
    for ours in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"] {
        command.env_remove(ours);
    }
    command.current_dir(program::first_directory());
    command.stdin(Stdio::from(state)).stdout(Stdio::null()).stderr(Stdio::from(OwnedFd::from(theirs)));
    let mut child = Process::start(&mut command)
        .map_err(|source| UpgradeError::Refused(format!("cannot start {}: {source}", program.display())))?;
    drop(command);
    let status = match timeout(REHEARSAL_DEADLINE, child.wait()).await {
        Ok(status) => status.map_err(system("cannot wait for the new version"))?,
        Err(_) => return Err(UpgradeError::Refused("the new version was not ready in time".into())),
    };
    if status.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    let _ = complaints.set_nonblocking(true);
    // An incomplete message is good enough.
    let _ = (&mut complaints).take(MAX_COMPLAINT_BYTES).read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    let said = Escaped(said.trim()).to_string();
    Err(UpgradeError::Refused(format!(
        "the new version can't take over ({}): {said}",
        describe(Some(status)),
    )))
}

/// Executes the new image.
fn replace(control: &Control) -> UpgradeError {
    match try_replace(control) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_replace(control: &Control) -> Result<std::convert::Infallible, UpgradeError> {
    let system = |what| move |source| UpgradeError::System { what, source };
    handoff::take_acknowledgements(&control.intake);
    let mut passed = Passed::default();
    let state = State::collect(control, &mut passed)?.write()?;
    let number = passed.add(state).map_err(system("cannot write the state"))?;
    let program = c_string(program::path().map_err(system("cannot find the program"))?.into_os_string())?;
    let arguments = std::env::args_os().map(c_string).collect::<Result<Vec<_>, _>>()?;
    let mut environment = Vec::new();
    for (name, value) in std::env::vars_os().filter(|(name, _)| name != OsStr::new(VARIABLE)) {
        environment.push(c_string(OsString::from_vec([name.as_bytes(), b"=", value.as_bytes()].concat()))?);
    }
    environment.push(c_string(format!("{VARIABLE}={number}").into())?);
    notify::alive();
    log::flush();
    passed.keep_on_exec().map_err(system("cannot pass descriptors to the new version"))?;
    // The new image has no signal handlers at first, and a signal would end it. Signals stay pending until it
    // unblocks them.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let failed = nix::unistd::execve(&program, &arguments, &environment);
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    failed.map_err(|errno| UpgradeError::System {
        what: "cannot execute the new version",
        source: errno.into(),
    })
}

fn c_string(text: OsString) -> Result<CString, UpgradeError> {
    let broken = |error: std::ffi::NulError| UpgradeError::System {
        what: "cannot pass the environment to the new version",
        source: error.into(),
    };
    CString::new(text.into_vec()).map_err(broken)
}
