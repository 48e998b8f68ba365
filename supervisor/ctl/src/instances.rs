//! The instances on this machine, and requests to them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::control::{self, Answer, Request, Status};
use common::json;

/// Maximum length of an answer in bytes, enough for some hundred thousand sessions.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// Time limit for an answer. A reload starts processes, each with a time limit of its own.
const DEADLINE: Duration = Duration::from_secs(60);

/// The reason why a command has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CtlError {
    /// There is no directory for sockets.
    #[error("there is no directory for control sockets: $XDG_RUNTIME_DIR is not set")]
    NoDirectory,
    /// There is no home directory.
    #[error("there is no directory for configuration files: $HOME is not set; name one with --config")]
    NoHome,
    /// The text is not a valid name.
    #[error("{0:?} can't be the name of an instance: use letters, digits and \":_.-\"")]
    Name(String),
    /// The instance does not run.
    #[error("cannot reach {name:?} at {path:?}: {source}{}", hint(.source))]
    Reach {
        /// Its name.
        name: String,
        /// Its socket.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// The instance has not answered.
    #[error("{0:?} has not answered: {1}")]
    Answer(String, io::Error),
    /// The instance has refused the request.
    #[error("{0}")]
    Refused(String),
    /// The end of the instance can't be waited for.
    #[error("cannot wait for the end of {name:?}: {source}")]
    Wait {
        /// Its name.
        name: String,
        /// The error of the system call.
        source: io::Error,
    },
    /// The answer does not fit the request.
    #[error("the answer of another version can't be parsed: {0}")]
    Unexpected(String),
    /// A file can't be read or written.
    #[error("{path:?}: {source}")]
    File {
        /// Its path.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// The command line or the configuration file is wrong.
    #[error("{0}")]
    Config(String),
    /// The instance does not serve clients.
    #[error("{name}: {reason}")]
    Ill {
        /// Its name.
        name: String,
        /// The reason.
        reason: String,
    },
    /// systemctl has failed.
    #[error("systemctl {command}: {reason}")]
    Systemctl {
        /// Its arguments.
        command: String,
        /// Its error message.
        reason: String,
    },
    /// Standard output can't be written.
    #[error("cannot write: {0}")]
    Output(io::Error),
    /// A value can't be written as JSON.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => " (it does not run)",
        io::ErrorKind::PermissionDenied => " (only root and the user of the instance have access)",
        _ => "",
    }
}

impl CtlError {
    /// The error for an answer that does not fit the request.
    pub(crate) fn unexpected(answer: Answer) -> Self {
        match answer {
            Answer::Failed(reason) => Self::Refused(reason),
            other => Self::Unexpected(format!("{other:?}")),
        }
    }
}

/// An instance that may be running.
#[derive(Debug)]
pub(crate) struct Instance {
    name: String,
    socket: PathBuf,
}

/// An instance that has a configuration file or is running.
#[derive(Debug)]
pub(crate) struct KnownInstance {
    /// Its name.
    pub(crate) name: String,
    /// Its file, if there is one.
    pub(crate) file: Option<PathBuf>,
    /// Its state, if it is running.
    pub(crate) status: Option<Status>,
}

impl Instance {
    /// The instance of this name.
    pub(crate) fn named(run: &Path, name: &str) -> Result<Self, CtlError> {
        if !control::is_name(name) {
            return Err(CtlError::Name(name.into()));
        }
        Ok(Self { name: name.into(), socket: control::socket(&run.join(name)) })
    }

    /// Sends a request and waits for the answer.
    pub(crate) fn ask(&self, request: &Request) -> Result<Answer, CtlError> {
        let reach = |source| CtlError::Reach { name: self.name.clone(), path: self.socket.clone(), source };
        let mut stream = UnixStream::connect(&self.socket).map_err(reach)?;
        let answered = || -> io::Result<String> {
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.set_write_timeout(Some(DEADLINE))?;
            let mut line = serde_json::to_vec(request)?;
            line.push(b'\n');
            stream.write_all(&line)?;
            let mut answer = String::new();
            BufReader::new(stream.take(MAX_ANSWER_BYTES)).read_line(&mut answer)?;
            if answer.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has closed the connection"));
            }
            Ok(answer)
        };
        let answer = { answered }().map_err(|error| CtlError::Answer(self.name.clone(), error))?;
        json::object(answer.as_bytes()).map_err(|error| CtlError::Unexpected(error.to_string()))
    }
}

/// The instances that are running or have a configuration file in `directory`.
pub(crate) fn all(directory: &Path, run: &Path) -> Result<Vec<KnownInstance>, CtlError> {
    let with_file = names(directory, |name| name.strip_suffix(".toml").map(str::to_owned));
    let sockets = names(run, |name| Some(name.to_owned()));
    let mut all = Vec::new();
    for name in with_file.iter().chain(&sockets).collect::<BTreeSet<_>>() {
        let status = match Instance::named(run, name).and_then(|instance| instance.ask(&Request::Status)) {
            Ok(Answer::Status(status)) => Some(*status),
            _ => None,
        };
        let file = with_file.contains(name).then(|| directory.join(format!("{name}.toml")));
        if file.is_some() || status.is_some() {
            all.push(KnownInstance { name: name.clone(), file, status });
        }
    }
    Ok(all)
}

/// Returns the names that `name_of` finds in the entries of a directory, sorted. A missing directory has no
/// entries.
pub(crate) fn names(directory: &Path, name_of: fn(&str) -> Option<String>) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let names = entries.filter_map(|entry| name_of(entry.ok()?.file_name().to_str()?));
    names.filter(|name| control::is_name(name)).collect()
}
