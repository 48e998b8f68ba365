//! The file of users for `BasicHTTPAuth`, which the supervisor reads for the connector. It may be readable by root only.
//!
//! Like token files, it is checked before each connection is handed over, so that a change takes effect for the next
//! client.

use std::cell::{Cell, RefCell};
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::config::Config;
use common::htpasswd::{MAX_FILE_BYTES, Users};
use common::ipc::setup;
use nix::fcntl::OFlag;
use zeroize::Zeroizing;

use crate::files::stamp::Stamp;
use crate::os::off_loop::{OffLoop, OffLoopError};

/// Time for which a client waits while the file system hangs. Only the first client waits; others use what
/// was read before.
const PATIENCE: Duration = Duration::from_secs(1);

/// Maximum number of bad lines that are logged.
const MAX_COMPLAINTS: usize = 20;

/// The file of a generation, and the users that it contained when it was read last.
#[derive(Debug)]
pub(crate) struct UsersFile {
    /// The thread that looks at the file, and its state; `None` without such a file.
    file: Option<(OffLoop, Arc<Mutex<Look>>)>,
    in_force: RefCell<Option<Users>>,
    /// New users are in force that [`UsersFile::refresh`] has not reported yet.
    is_new: Cell<bool>,
}

/// State of the thread that looks at the file.
#[derive(Debug)]
struct Look {
    path: PathBuf,
    /// The file as it was read last; `None` if it may have changed since without a trace.
    stamp: Option<Result<Stamp, String>>,
    known: Option<Found>,
}

/// The users that were read, and what is wrong with the file.
type Found = (Users, Vec<String>);

impl UsersFile {
    /// The file of a configuration. Nothing is read yet.
    pub(crate) fn of(config: &Config) -> Self {
        let file = config.users_file().map(|path| {
            let look = Look { path: path.to_path_buf(), stamp: None, known: None };
            (OffLoop::of("users", PATIENCE, vec![path.to_path_buf()]), Arc::new(Mutex::new(look)))
        });
        Self { file, in_force: RefCell::default(), is_new: Cell::default() }
    }

    /// Reads the file if it has changed. Returns whether new users are in force.
    pub(crate) async fn refresh(self: &Rc<Self>) -> bool {
        let Some((off_loop, look)) = &self.file else { return false };
        let (look, file) = (look.clone(), self.clone());
        let work = move || look.lock().unwrap_or_else(PoisonError::into_inner).news();
        if let Err(OffLoopError::Thread(error)) = off_loop.run(work, move |found| file.take(found)).await {
            tracing::error!("cannot check the file of users: {error}");
        }
        self.is_new.take()
    }

    /// Whether a look at the file is hanging.
    pub(crate) fn hangs(&self) -> bool {
        self.file.as_ref().is_some_and(|(off_loop, _)| off_loop.hangs())
    }

    /// The users that were read last, [`Users`] in a memory file to be passed on; `None` before the first look.
    pub(crate) fn in_force(&self) -> io::Result<Option<OwnedFd>> {
        self.in_force.borrow().as_ref().map(setup::file).transpose()
    }

    fn take(&self, found: Option<Found>) {
        let Some((users, complaints)) = found else { return };
        for complaint in complaints {
            tracing::error!("{complaint}");
        }
        self.in_force.replace(Some(users));
        self.is_new.set(true);
    }
}

impl Look {
    /// Reads the file if it has changed.
    fn news(&mut self) -> Option<Found> {
        let stamp =
            fs::metadata(&self.path).map(|found| Stamp::of(&found)).map_err(|error| error.to_string());
        if self.stamp.as_ref() == Some(&stamp) {
            return None;
        }
        let may_change_unseen = stamp.as_ref().is_ok_and(Stamp::may_change_unseen);
        self.stamp = (!may_change_unseen).then_some(stamp);
        let path = self.path.display();
        let found = match read(&self.path) {
            Ok(content) => {
                let (users, bad) = Users::parse(&content);
                let mut complaints: Vec<_> = bad
                    .iter()
                    .take(MAX_COMPLAINTS)
                    .map(|line| format!("a user in {path} can't log in: {line}"))
                    .collect();
                if bad.len() > MAX_COMPLAINTS {
                    complaints.push(format!(
                        "{} further lines of {path} can't be used",
                        bad.len() - MAX_COMPLAINTS
                    ));
                }
                (users, complaints)
            }
            Err(error) => {
                (Users::default(), vec![format!("no user can log in: cannot read {path}: {error}")])
            }
        };
        if self.known.as_ref() == Some(&found) {
            return None;
        }
        self.known = Some(found);
        self.known.clone()
    }
}

/// Reads a whole file of at most [`MAX_FILE_BYTES`].
fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // Opening a FIFO without a writer must not block.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut content = Zeroizing::new(Vec::new());
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it is longer than {} KiB", MAX_FILE_BYTES >> 10)));
    }
    Ok(content)
}
