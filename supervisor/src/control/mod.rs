//! The control socket: requests of an administrator to a running instance.
//!
//! Only root and the user of the supervisor may use it. A connection carries one request. The number of
//! connections and their duration are bounded, so that a client of this socket can't harm the service by
//! accident.

pub(crate) mod exporter;
mod metrics;
mod progress;
mod requests;
pub(crate) mod status;

use std::cell::{Ref, RefCell};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use common::control::{self, Answer, MAX_REQUEST_BYTES, Request};
use common::json;
use rustix::process::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::os::process;
use crate::os::socket_file::{self, SocketFile};
use crate::path::intake::Intake;
use exporter::Exporter;
use requests::Reply;

/// Maximum number of connections that are served at a time. Others wait.
const MAX_CONNECTIONS: usize = 16;

/// Permissions of the socket: the supervisor's user only, as root needs none.
const MODE: u32 = 0o600;

/// Maximum length of the kernel's queue of connections.
const BACKLOG: i32 = 128;

/// Time limits for receiving a request and for sending an answer.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Pause after accept(2) has failed.
const PAUSE: Duration = Duration::from_millis(100);

/// The control socket and the exporter of metrics.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) intake: Rc<Intake>,
    pub(crate) exporter: Exporter,
    listener: RefCell<Option<Rc<UnixListener>>>,
    /// The file of the socket, which is removed at the end.
    file: RefCell<Option<SocketFile>>,
    /// Connections that wait for the end of a reload.
    waiting: RefCell<Vec<Rc<UnixStream>>>,
}

impl Control {
    /// Creates the state without a socket.
    pub(crate) fn new(intake: Rc<Intake>) -> Rc<Self> {
        let exporter = Exporter::new(intake.clone());
        Rc::new(Self {
            intake,
            exporter,
            listener: RefCell::default(),
            file: RefCell::default(),
            waiting: RefCell::default(),
        })
    }

    /// The listener and the waiting connections, for the next image.
    pub(crate) fn snapshot(&self) -> (Option<Rc<UnixListener>>, Vec<Rc<UnixStream>>) {
        (self.listener.borrow().clone(), self.waiting.borrow().clone())
    }

    /// The file of the listener.
    pub(crate) fn file(&self) -> Ref<'_, Option<SocketFile>> {
        self.file.borrow()
    }

    /// Removes the socket.
    pub(crate) fn end(&self) {
        self.file.take();
    }
}

/// Path of the socket: in `RUNTIME_DIRECTORY` if systemd has set it, else in a directory with the instance's
/// name. An instance without a configuration file has no name, and therefore no socket.
pub(crate) fn path(file: Option<&Path>, name: &str) -> Option<PathBuf> {
    file?;
    let given = std::env::var_os("RUNTIME_DIRECTORY").and_then(|directories| {
        // systemd separates several directories by colons.
        std::env::split_paths(&directories).next().filter(|directory| directory.is_absolute())
    });
    let own =
        || control::directory().filter(|_| control::is_name(name)).map(|directory| directory.join(name));
    given.or_else(own).map(|directory| control::socket(&directory))
}

/// Opens the socket. If that fails, a warning is logged and the service continues without it.
pub(crate) fn open(control: &Rc<Control>, path: &Path) {
    match bind(path) {
        Ok((listener, file)) => begin(control, listener, Some(file)),
        Err(error) => {
            tracing::warn!("cannot create the control socket {}: {error}", path.display());
        }
    }
}

/// Takes over the socket of an earlier image with its waiting connections.
pub(crate) fn adopt(
    control: &Rc<Control>,
    path: Option<&Path>,
    listener: Option<(OwnedFd, Option<SocketFile>)>,
    waiting: Vec<OwnedFd>,
    asked: u64,
) {
    let listener = listener.and_then(|(fd, file)| Some((UnixListener::from_std(fd.into()).ok()?, file)));
    match (listener, path) {
        (Some((listener, file)), Some(_)) => begin(control, listener, file),
        (None, Some(path)) => open(control, path),
        (_, None) => {}
    }
    for stream in waiting {
        if let Ok(stream) = UnixStream::from_std(stream.into()) {
            let control = control.clone();
            spawn_local(async move { wait_for_reload(&control, &Rc::new(stream), asked).await });
        }
    }
}

fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    }
    let socket = socket_file::stream()?;
    let file = SocketFile::bind(&socket, path, MODE)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok((UnixListener::from_std(socket.into())?, file))
}

fn begin(control: &Rc<Control>, listener: UnixListener, file: Option<SocketFile>) {
    let listener = Rc::new(listener);
    *control.file.borrow_mut() = file;
    *control.listener.borrow_mut() = Some(listener.clone());
    spawn_local(keep_answering(control.clone(), listener));
}

async fn keep_answering(control: Rc<Control>, listener: Rc<UnixListener>) {
    let turns = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Never fails: the semaphore is never closed.
        let Ok(turn) = turns.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let control = control.clone();
                spawn_local(async move {
                    serve(&control, stream).await;
                    drop(turn);
                });
            }
            Err(error) => {
                tracing::warn!("cannot accept: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(control: &Rc<Control>, stream: UnixStream) {
    // A peer whose user is unknown gets no answer.
    let Ok(peer) = stream.peer_cred() else { return };
    if peer.uid() != 0 && peer.uid() != geteuid().as_raw() {
        tracing::warn!("access denied to user {}", peer.uid());
        return;
    }
    // Without root, roles and plugins have our user as well. A pid of 0 belongs to a process outside of our
    // PID namespace, which can't be a descendant of ours.
    if peer.pid().is_some_and(|pid| pid > 0 && process::may_be_of_ours(pid)) {
        tracing::warn!("access denied to a process of this instance");
        return;
    }
    let stream = Rc::new(stream);
    let Ok(Some(request)) = timeout(REQUEST_DEADLINE, read(&stream)).await else { return };
    let response = match request {
        Ok(request) => requests::handle(&control.intake, request).await,
        Err(error) => Reply::Now(Answer::Failed(error)),
    };
    match response {
        Reply::Now(said) => answer(&stream, &said).await,
        Reply::AfterReload(asked) => wait_for_reload(control, &stream, asked).await,
    }
}

/// Answers when the reload is complete. If an upgrade happens meanwhile, the next image answers.
async fn wait_for_reload(control: &Rc<Control>, stream: &Rc<UnixStream>, asked: u64) {
    control.waiting.borrow_mut().push(stream.clone());
    let outcome = control.intake.state.reload_requests.outcome(asked).await;
    control.waiting.borrow_mut().retain(|one| !Rc::ptr_eq(one, stream));
    let said = match outcome {
        Ok(number) => Answer::Done(format!("new connections go to generation {number}")),
        Err(error) => Answer::Failed(error),
    };
    answer(stream, &said).await;
}

/// Reads a request. The error describes an invalid request. Returns `None` if the peer has closed the connection.
async fn read(stream: &UnixStream) -> Option<Result<Request, String>> {
    let mut line = Vec::new();
    while !line.contains(&b'\n') {
        if line.len() >= MAX_REQUEST_BYTES {
            return Some(Err("the request is too long".into()));
        }
        stream.readable().await.ok()?;
        let mut piece = [0; 512];
        match stream.try_read(&mut piece) {
            Ok(0) => return None,
            Ok(len) => line.extend_from_slice(piece.get(..len)?),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
    Some(json::object(&line).map_err(|error| format!("not a request: {error}")))
}

async fn answer(stream: &UnixStream, answer: &Answer) {
    let Ok(mut line) = serde_json::to_vec(answer) else { return };
    line.push(b'\n');
    let written = timeout(ANSWER_DEADLINE, async {
        let mut left = line.as_slice();
        while !left.is_empty() {
            stream.writable().await?;
            match stream.try_write(left) {
                Ok(len) => left = &left[len..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        io::Result::Ok(())
    });
    // Fails if the peer has closed the connection.
    let _ = written.await;
}
