//! `-D`: the service in the background.
//!
//! The program starts itself once more, and that process becomes the service. The first process waits until the
//! service accepts clients and exits with 0, or exits with the status of the failure. Messages until then go to the
//! caller's standard error. After that the service holds none of the caller's streams, so that callers that read its
//! output to the end don't wait.
//!
//! Unlike fork(2), starting anew is safe with threads, and leaves behind descriptors that the caller did not mean for
//! the service.

use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, parent_id};
use std::path::Path;
use std::process::{self, Command, Stdio};

use common::config::Config;
use common::exit_code;
use common::sys::inherited;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

/// Marks the background process: its value is the process id of the parent. In a process that has only inherited it
/// the parent is another one.
const MARK: &str = "WEBSOCKIFY_BACKGROUND_OF";

/// The byte that tells the parent that clients are accepted.
const READY: u8 = b'R';

/// The background process until it has detached from its caller.
#[derive(Debug)]
pub(crate) struct Daemon {
    parent: OwnedFd,
    /// The caller's standard error.
    stderr: OwnedFd,
}

/// Whether [`start`] has started this process.
pub(crate) fn is_background() -> bool {
    env::var(MARK).is_ok_and(|parent| parent == parent_id().to_string())
}

/// Starts the background process, waits for its message, and gives the exit status.
pub(crate) fn start(config: &Config) -> io::Result<u8> {
    if env::var("LISTEN_PID").is_ok_and(|pid| pid == process::id().to_string()) {
        return Err(io::Error::other(
            "the service manager has passed sockets to this process: leave -D out, it keeps services in \
             the background by itself",
        ));
    }
    inherited::close_others_on_exec()?;
    let (mut word, theirs) = UnixStream::pair()?;
    let mut words = env::args_os();
    let mut command = Command::new(env::current_exe()?);
    command.arg0(words.next().unwrap_or_default()).args(words).env(MARK, process::id().to_string());
    command.stdin(if config.inetd { Stdio::inherit() } else { Stdio::null() });
    command.stdout(OwnedFd::from(theirs));
    let mut child = command.spawn()?;
    // The child holds the other end; an open copy here would hide that it was closed.
    drop(command);
    if word.read(&mut [0])? > 0 {
        return Ok(exit_code::SUCCESS);
    }
    let status = child.wait()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit_code::FAILURE))
}

impl Daemon {
    /// Detaches this process from its session and replaces its standard streams by /dev/null, except for standard
    /// input that is the listening socket.
    pub(crate) fn begin(config: &Config) -> io::Result<Self> {
        rustix::process::setsid()?;
        let directory = config.web.as_ref().map_or(Path::new("/"), |web| &web.root);
        env::set_current_dir(directory)?;
        let parent = io::stdout().as_fd().try_clone_to_owned()?;
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        if !config.inetd {
            dup2_stdin(&null)?;
        }
        Ok(Self { parent, stderr })
    }

    /// A copy of the caller's standard error, for messages until [`Self::leave`].
    pub(crate) fn stderr(&self) -> io::Result<OwnedFd> {
        self.stderr.try_clone()
    }

    /// Tells the parent that clients are accepted. All copies of its standard error must be closed by now.
    pub(crate) fn leave(self) {
        drop(self.stderr);
        // A parent that was killed needs no message.
        let _ = File::from(self.parent).write_all(&[READY]);
    }
}
