//! Files for recordings of sessions (`--record`). Gateways write them, but can't open files.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::ipc::ConnectionId;
use rustix::fs::{Mode, OFlags};

use crate::os::off_loop::OffLoop;
use crate::os::place::Place;

/// Only the owner may read a recording: it contains the passwords that were typed.
const MODE: Mode = Mode::from_raw_mode(0o600);

/// Fails if the name exists, even as a dangling symbolic link.
const FLAGS: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL);

/// Maximum number of names to try, as other processes may record to the same path.
const MAX_TRIES: u32 = 100;

/// Files with larger numbers are not considered recordings.
const MAX_NUMBER: u64 = 1 << 48;

/// Time limit for creating the file of a session.
const PATIENCE: Duration = Duration::from_secs(1);

/// The recordings of an instance: `FILE.1`, `FILE.2` and so on.
#[derive(Debug)]
pub(crate) struct Recordings {
    files: OffLoop,
    names: Arc<Mutex<Names>>,
}

/// The names that were given.
#[derive(Debug)]
struct Names {
    file: PathBuf,
    /// `file` in its directory, which is kept open from the first recording on, and the highest number that
    /// existed then.
    place: Option<(Place, u64)>,
    /// Number of the last recording.
    last: u64,
}

impl Recordings {
    /// Creates recordings beside those of `file` that already exist.
    pub(crate) fn new(file: &Path) -> Self {
        let names = Names { file: file.to_owned(), place: None, last: 0 };
        Self { files: OffLoop::new("recordings", PATIENCE), names: Arc::new(Mutex::new(names)) }
    }

    /// Creates the file for a session. Its number is that of the connection, as in the original, or the next
    /// free one: nothing is ever overwritten.
    ///
    /// # Errors
    ///
    /// Those of the system, or that the file system does not answer. A file that is created after that stays empty.
    pub(crate) async fn open(&self, id: ConnectionId) -> io::Result<(PathBuf, OwnedFd)> {
        let names = self.names.clone();
        // Nothing panics while it holds the lock.
        let open = move || names.lock().unwrap_or_else(PoisonError::into_inner).open(id);
        self.files.get(open).await.map_err(io::Error::other)?
    }
}

impl Names {
    fn open(&mut self, id: ConnectionId) -> io::Result<(PathBuf, OwnedFd)> {
        let (place, highest) = match &self.place {
            Some(known) => known,
            None => self.place.insert(find(&self.file)?),
        };
        for _ in 0..MAX_TRIES {
            let number = id.0.max(self.last.max(*highest) + 1);
            self.last = number;
            let mut name = place.name.clone();
            name.push(format!(".{number}"));
            match place.open_beside(&name, FLAGS, MODE) {
                Ok(file) => return Ok((self.file.with_file_name(name), file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

/// Opens the directory of `file`, and finds the highest number in it.
fn find(file: &Path) -> io::Result<(Place, u64)> {
    let place = Place::of(file)?;
    if let Some(others) = place.writers() {
        tracing::warn!(
            "{others} can replace the recordings {file:?}: their directory should be writable only by root"
        );
    }
    let highest = highest(&place);
    Ok((place, highest))
}

/// The highest number after this name in its directory, or 0.
fn highest(place: &Place) -> u64 {
    // If the directory can't be read, more names have to be tried.
    let Ok(names) = place.names() else { return 0 };
    let numbers = names.filter_map(|name| {
        let number = name.as_bytes().strip_prefix(place.name.as_bytes())?.strip_prefix(b".")?;
        std::str::from_utf8(number).ok()?.parse().ok().filter(|number| *number < MAX_NUMBER)
    });
    numbers.max().unwrap_or(0)
}
#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn names(file: &Path) -> Names {
        Names { file: file.to_owned(), place: None, last: 0 }
    }

    #[test]
    fn nothing_is_overwritten_or_followed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rec");
        let name = |opened: io::Result<(PathBuf, OwnedFd)>| {
            opened.unwrap().0.file_name().unwrap().to_string_lossy().into_owned()
        };
        let mut first = names(&file);
        assert_eq!(name(first.open(ConnectionId(3))), "rec.3");
        assert_eq!(name(first.open(ConnectionId(5))), "rec.5");
        fs::write(directory.path().join("rec.x"), "").unwrap();
        fs::write(directory.path().join("record.9"), "").unwrap();
        let mut again = names(&file);
        assert_eq!(name(again.open(ConnectionId(1))), "rec.6");
        // A file of another process, and a dangling link.
        fs::write(directory.path().join("rec.7"), "").unwrap();
        symlink(directory.path().join("elsewhere"), directory.path().join("rec.8")).unwrap();
        assert_eq!(name(again.open(ConnectionId(2))), "rec.9");
        assert!(!directory.path().join("elsewhere").exists());
        let mode = fs::metadata(directory.path().join("rec.9")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        assert!(names(Path::new("/nonexistent/rec")).open(ConnectionId(1)).is_err());
        assert!(names(Path::new("/")).open(ConnectionId(1)).is_err());
    }

    #[test]
    fn recordings_stay_in_the_directory_that_was_there_first() {
        let directory = tempfile::tempdir().unwrap();
        let (before, after) = (directory.path().join("before"), directory.path().join("after"));
        fs::create_dir(&before).unwrap();
        let mut recordings = names(&before.join("rec"));
        recordings.open(ConnectionId(1)).unwrap();
        fs::rename(&before, &after).unwrap();
        fs::create_dir(directory.path().join("victim")).unwrap();
        symlink(directory.path().join("victim"), &before).unwrap();
        recordings.open(ConnectionId(2)).unwrap();
        assert!(after.join("rec.2").exists());
        assert_eq!(fs::read_dir(directory.path().join("victim")).unwrap().count(), 0);
    }
}
