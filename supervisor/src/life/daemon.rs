//! `-D`: the service in the background.
//!
//! This program starts itself once more, and that process becomes the service. The first one waits until
//! clients can be served and ends with 0, or ends with the status of the failure. What there is to say until
//! then goes to the standard error of whoever has called. Nothing of theirs stays open behind that: callers
//! that read our output to its end get there.
//!
//! Starting anew is safe at any time, unlike fork(2), and leaves behind whatever descriptors the caller
//! did not mean for us.

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

/// Tells the background process what it is: the process id of its parent. A process that only inherits
/// this has another parent.
const MARK: &str = "WEBSOCKIFY_BACKGROUND_OF";

/// Written to the parent when clients can be served.
const READY: u8 = b'R';

/// The background process, before it has left its caller.
#[derive(Debug)]
pub(crate) struct Daemon {
    parent: OwnedFd,
    /// The caller's.
    stderr: OwnedFd,
}

/// Whether `start` has started this process.
pub(crate) fn is_background() -> bool {
    env::var(MARK).is_ok_and(|parent| parent == parent_id().to_string())
}

/// Starts the background process and waits for its word; gives our exit code.
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
    // It holds the other end, and would keep us from seeing that it was closed.
    drop(command);
    if word.read(&mut [0])? > 0 {
        return Ok(exit_code::SUCCESS);
    }
    let status = child.wait()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit_code::FAILURE))
}

impl Daemon {
    /// Takes this process out of its session, and puts /dev/null in place of its standard streams; but
    /// standard input if it is the listening socket.
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

    /// The caller's standard error, for what there is to say until [`Self::leave`].
    pub(crate) fn stderr(&self) -> io::Result<OwnedFd> {
        self.stderr.try_clone()
    }

    /// Lets the caller go on: clients can be served. Who holds a copy of its standard error has closed it
    /// by now.
    pub(crate) fn leave(self) {
        drop(self.stderr);
        // A parent that was killed meanwhile needs no word.
        let _ = File::from(self.parent).write_all(&[READY]);
    }
}
