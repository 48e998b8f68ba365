//! Where this program and the one for the roles were found at the start.
//!
//! A package may be installed over us while we run. Roles go on being started from the file that was there
//! when we began, since what they are told fits no other version; an upgrade takes what is there by then.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

static FOUND: OnceLock<Found> = OnceLock::new();
static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

#[derive(Debug)]
struct Found {
    program: PathBuf,
    worker: PathBuf,
    worker_file: File,
    /// Its interpreter opens it once more, when our descriptor is closed.
    worker_is_script: bool,
}

/// Remembers the current directory, from which relative paths on our command line lead.
pub(crate) fn note_directory() {
    if let Ok(directory) = std::env::current_dir() {
        let _ = DIRECTORY.set(directory);
    }
}

/// The directory that was current at the start.
pub(crate) fn first_directory() -> PathBuf {
    DIRECTORY.get().cloned().unwrap_or_else(|| "/".into())
}

/// Runs `action` in the directory that was current at the start; in the background it is another one now.
pub(crate) fn in_first_directory<T>(action: impl FnOnce() -> T) -> T {
    let now = std::env::current_dir();
    // What is gone can't be read from, which the action says.
    let _ = std::env::set_current_dir(first_directory());
    let done = action();
    if let Ok(now) = now {
        let _ = std::env::set_current_dir(now);
    }
    done
}

/// Where this program is, in whatever version.
pub(crate) fn path() -> io::Result<PathBuf> {
    found().map(|found| found.program.clone())
}

/// What starts a role of this version.
pub(crate) fn worker() -> io::Result<Command> {
    use std::os::unix::process::CommandExt;
    let found = found()?;
    if found.worker_is_script {
        return Ok(Command::new(&found.worker));
    }
    // The path is that of whoever follows it, which is the new process with our descriptors still open.
    let mut command = Command::new(format!("/proc/self/fd/{}", found.worker_file.as_raw_fd()));
    command.arg0(&found.worker);
    Ok(command)
}

/// A file that belongs to the worker: beside it, or in the source tree.
pub(crate) fn shipped(name: &str) -> io::Result<PathBuf> {
    let directory = found()?.worker.parent().ok_or(io::ErrorKind::NotFound)?;
    let places = [directory.join(name), directory.join("../../supervisor/libexec").join(name)];
    places.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("{name} is not in {}; install it there", directory.display()),
        )
    })
}

fn found() -> io::Result<&'static Found> {
    if let Some(found) = FOUND.get() {
        return Ok(found);
    }
    let found = find()?;
    Ok(FOUND.get_or_init(|| found))
}

/// This program as it was called, so that links are followed anew; and `websockify-worker` beside it or where
/// packages put it.
fn find() -> io::Result<Found> {
    let this = std::env::current_exe()?;
    let called = std::env::args_os().next().map(PathBuf::from);
    let called =
        called.filter(|called| called.is_absolute() && called.canonicalize().is_ok_and(|path| path == this));
    let directory = this.parent().ok_or(io::ErrorKind::NotFound)?;
    let places = ["websockify-worker", "../libexec/websockify/websockify-worker"];
    let worker = places.iter().map(|place| directory.join(place)).find(|path| path.is_file());
    let worker = worker.ok_or_else(|| {
        let text = format!(
            "websockify-worker is neither in {0} nor in {0}/../libexec/websockify; install it there",
            directory.display()
        );
        io::Error::new(io::ErrorKind::NotFound, text)
    })?;
    let worker_file = File::open(&worker)?;
    let mut begin = [0; 2];
    let worker_is_script = worker_file.read_exact_at(&mut begin, 0).is_ok() && begin == *b"#!";
    Ok(Found { program: called.unwrap_or(this), worker, worker_file, worker_is_script })
}
