//! Files for the recordings of sessions (`--record`). Gateways, which write them, can't open files.

use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use common::ipc::ConnectionId;

/// For the owner alone: passwords that are typed into a session are in its recording.
const MODE: u32 = 0o600;

/// Names that may be taken by others who record to the same place, before we give up.
const MAX_TRIES: u32 = 100;

/// Larger numbers behind a name are not ours.
const MAX_NUMBER: u64 = 1 << 48;

/// Where recordings go: `FILE.1`, `FILE.2` and so on.
#[derive(Debug)]
pub(crate) struct Recordings {
    file: PathBuf,
    /// The highest number that is taken.
    last: Cell<u64>,
}

impl Recordings {
    /// Beside the recordings of `file` that are there.
    pub(crate) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), last: Cell::new(highest(file)) }
    }

    /// A new file for a session. Its number is that of the connection, as in the original, or the next one
    /// that is free: nothing is ever overwritten.
    pub(crate) fn open(&self, id: ConnectionId) -> io::Result<(PathBuf, OwnedFd)> {
        for _ in 0..MAX_TRIES {
            let number = id.0.max(self.last.get() + 1);
            self.last.set(number);
            let mut path = self.file.clone().into_os_string();
            path.push(format!(".{number}"));
            // Nothing that is there is opened, not even a symbolic link to nowhere.
            match OpenOptions::new().write(true).create_new(true).mode(MODE).open(&path) {
                Ok(file) => return Ok((path.into(), file.into())),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

/// The highest number behind the name of `file` in its directory, 0 if there is none.
fn highest(file: &Path) -> u64 {
    let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else { return 0 };
    // A directory that can't be read only costs tries.
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let numbers = entries.filter_map(|entry| {
        let entry = entry.ok()?.file_name();
        let number = entry.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b".")?;
        std::str::from_utf8(number).ok()?.parse().ok().filter(|number| *number < MAX_NUMBER)
    });
    numbers.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn nothing_is_overwritten_or_followed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rec");
        let name = |opened: io::Result<(PathBuf, OwnedFd)>| {
            opened.unwrap().0.file_name().unwrap().to_string_lossy().into_owned()
        };
        let first = Recordings::new(&file);
        assert_eq!(name(first.open(ConnectionId(3))), "rec.3");
        assert_eq!(name(first.open(ConnectionId(5))), "rec.5");
        fs::write(directory.path().join("rec.x"), "").unwrap();
        fs::write(directory.path().join("record.9"), "").unwrap();
        let again = Recordings::new(&file);
        assert_eq!(name(again.open(ConnectionId(1))), "rec.6");
        // Somebody else, and a link that leads nowhere.
        fs::write(directory.path().join("rec.7"), "").unwrap();
        symlink(directory.path().join("elsewhere"), directory.path().join("rec.8")).unwrap();
        assert_eq!(name(again.open(ConnectionId(2))), "rec.9");
        assert!(!directory.path().join("elsewhere").exists());
        let mode = fs::metadata(directory.path().join("rec.9")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_missing_directory_is_an_error_and_no_panic() {
        assert!(Recordings::new(Path::new("/nonexistent/rec")).open(ConnectionId(1)).is_err());
        assert_eq!(highest(Path::new("/")), 0);
    }
}
