//! The files of this program and of `websockify-worker`, as found at the start.
//!
//! A package may be replaced while the service runs. Roles are started from the file that existed at the
//! start, since their setups fit no other version. An upgrade uses the files that exist at that time.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

static FILES: OnceLock<ProgramFiles> = OnceLock::new();
static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

#[derive(Debug)]
struct ProgramFiles {
    program: PathBuf,
    worker: PathBuf,
    worker_file: File,
    /// The worker is a script: its interpreter opens it by path, after the descriptor was closed.
    worker_is_script: bool,
}

/// Stores the current directory, to which relative paths on the command line refer.
pub(crate) fn note_directory() {
    if let Ok(directory) = std::env::current_dir() {
        let _ = DIRECTORY.set(directory);
    }
}

/// The current directory at the start.
pub(crate) fn first_directory() -> PathBuf {
    DIRECTORY.get().cloned().unwrap_or_else(|| "/".into())
}

/// Runs `action` in the directory of the start. A background process has another current directory.
pub(crate) fn in_first_directory<T>(action: impl FnOnce() -> T) -> T {
    let now = std::env::current_dir();
    // If this fails, `action` fails as well.
    let _ = std::env::set_current_dir(first_directory());
    let done = action();
    if let Ok(now) = now {
        let _ = std::env::set_current_dir(now);
    }
    done
}

/// Path of the installed program, which may be another version by now.
pub(crate) fn path() -> io::Result<PathBuf> {
    found().map(|found| found.program.clone())
}

/// The command that starts a role of this version.
pub(crate) fn worker() -> io::Result<Command> {
    use std::os::unix::process::CommandExt;
    let found = found()?;
    if found.worker_is_script {
        return Ok(Command::new(&found.worker));
    }
    // The new process resolves this path while it still has the descriptors of this process.
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

fn found() -> io::Result<&'static ProgramFiles> {
    if let Some(found) = FILES.get() {
        return Ok(found);
    }
    let found = find()?;
    Ok(FILES.get_or_init(|| found))
}

/// Finds this program by the path of its call, whose links are resolved anew for each use; and
/// `websockify-worker` beside it or where packages install it.
fn find() -> io::Result<ProgramFiles> {
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
    Ok(ProgramFiles { program: called.unwrap_or(this), worker, worker_file, worker_is_script })
}
