//! `-D`: runs the service in the background.
//!
//! The program starts itself a second time, and the child becomes the service. The parent exits with 0 when
//! the service accepts clients, or with the exit status of the service if that fails. Messages until then go
//! to the caller's standard error. After that the service holds none of the caller's streams, so that callers
//! that read its output to the end don't wait.
//!
//! Unlike fork(2), executing the program again is safe with threads, and does not inherit descriptors that
//! were not meant for the service.

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

/// Marks the background process. The value is the process id of its parent, so that processes that merely
/// inherit the variable are not taken for it.
const MARK: &str = "WEBSOCKIFY_BACKGROUND_OF";

/// The byte that tells the parent that clients are accepted.
const READY: u8 = b'R';

/// The background process before it has detached from its caller.
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

/// Starts the background process, waits for its message, and returns the exit status.
pub(crate) fn start(config: &Config) -> io::Result<u8> {
    if env::var("LISTEN_PID").is_ok_and(|pid| pid == process::id().to_string()) {
        return Err(io::Error::other(
            "the service manager has passed sockets to this process: \
             leave out -D, as services already run in the background",
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
    // The child holds the other end. An open copy here would hide its closing.
    drop(command);
    if word.read(&mut [0])? > 0 {
        return Ok(exit_code::SUCCESS);
    }
    let status = child.wait()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit_code::FAILURE))
}

impl Daemon {
    /// Detaches this process from its session, and redirects its standard streams to /dev/null, unless
    /// standard input is the listening socket.
    pub(crate) fn begin(config: &Config) -> io::Result<Self> {
        rustix::process::setsid()?;
        let directory = config.web_root().map_or(Path::new("/"), |(root, _)| root);
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

    /// Reports to the parent that clients are accepted. All copies of its standard error must be closed by now.
    pub(crate) fn leave(self) {
        drop(self.stderr);
        // Fails if the parent was killed.
        let _ = File::from(self.parent).write_all(&[READY]);
    }
}
