//! The file of a unix socket that was bound here: its permissions and its removal.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, chmod, fchmod};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{geteuid, umask};

use super::place::{Place, PlacedFile};

/// The permission bits of a mode.
const PERMISSIONS: u32 = 0o7777;

/// A file that is identified independently of its name. Dropping this removes it.
#[derive(Debug)]
pub(crate) struct SocketFile {
    place: Place,
    file: PlacedFile,
}

/// Creates a non-blocking stream socket.
pub(crate) fn stream() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

impl SocketFile {
    /// Binds `socket` to `path`. A stale socket of a killed program, on which no process listens, is removed
    /// first.
    ///
    /// The file has its permissions from the beginning, since the kernel gives it those of the socket. No
    /// permissions are ever changed by path.
    pub(crate) fn bind(socket: &OwnedFd, path: &Path, mode: u32) -> io::Result<Self> {
        let place = Place::of(path)?;
        remove_stale(&place)?;
        let address = SocketAddrUnix::new(path)?;
        fchmod(socket, Mode::from_raw_mode(mode))?;
        let masked = umask(Mode::empty());
        let bound = rustix::net::bind(socket, &address);
        umask(masked);
        bound?;
        let found = place.find()?;
        // Whoever may write to the directory can replace the file at once, but can't create one that is owned
        // by our user.
        if !found.is(FileType::Socket) || found.stat.st_uid != geteuid().as_raw() {
            return Err(io::Error::other("the socket was replaced by another file as soon as it was bound"));
        }
        let file = Self { file: found, place };
        // A default ACL of the directory may have removed permissions (acl(5)).
        file.set_mode(mode)?;
        if let Some(others) = file.place.writers() {
            let path = &file.place.path;
            tracing::warn!(
                "{others} can replace the socket {path:?} by another and read what clients send: \
                 its directory should be writable only by root and the service's user",
            );
        }
        Ok(file)
    }

    /// Takes over the file of an earlier image.
    pub(crate) fn adopt(directory: OwnedFd, file: OwnedFd, path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        Ok(Self { place: Place::within(directory, name, path), file: PlacedFile::new(file)? })
    }

    /// Path to which it was bound.
    pub(crate) fn path(&self) -> &Path {
        &self.place.path
    }

    /// Descriptors for the next image: the directory and the file.
    pub(crate) fn snapshot(&self) -> [BorrowedFd<'_>; 2] {
        [self.place.directory.as_fd(), self.file.file.as_fd()]
    }

    /// Sets the permissions of the file.
    ///
    /// # Errors
    ///
    /// Fails if the file was removed or replaced, or if the kernel refuses the change.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        let found = self.place.find()?;
        if !found.is_same(&self.file) {
            return Err(io::Error::other("another file has replaced it"));
        }
        if found.stat.st_mode & PERMISSIONS != mode {
            chmod(found.link(), Mode::from_raw_mode(mode))?;
        }
        Ok(())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.place.find().is_ok_and(|found| found.is_same(&self.file)) {
            // Fails if another process has removed the name.
            let _ = self.place.remove();
        }
    }
}

/// Removes a stale socket of a killed program, on which no process listens.
fn remove_stale(place: &Place) -> io::Result<()> {
    let Ok(found) = place.find() else { return Ok(()) };
    if !found.is(FileType::Socket) {
        return Ok(());
    }
    // A socket whose queue is full, or that is not accessible, is in use.
    let connected = rustix::net::connect(&stream()?, &SocketAddrUnix::new(found.link())?);
    if connected == Err(Errno::CONNREFUSED) { place.remove() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    /// Creates a bound socket at `run/socket`, and a victim of mode 0600 beside its directory.
    fn bound() -> (tempfile::TempDir, PathBuf, PathBuf, SocketFile) {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path().join("run");
        fs::create_dir(&run).unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "secret").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
        let path = run.join("socket");
        let file = SocketFile::bind(&stream().unwrap(), &path, 0o640).unwrap();
        (directory, path, victim, file)
    }

    #[test]
    fn the_socket_has_its_mode_from_the_beginning_to_its_end() {
        let (_directory, path, _, file) = bound();
        assert_eq!(mode(&path), 0o640);
        for wanted in [0o666, 0o600] {
            file.set_mode(wanted).unwrap();
            assert_eq!(mode(&path), wanted);
        }
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_has_replaced_it_is_left_alone() {
        type Swap = fn(&Path, &Path);
        let swaps: [(&str, Swap); 5] = [
            ("a link", |path, victim| symlink(victim, path).unwrap()),
            ("a hard link", |path, victim| fs::hard_link(victim, path).unwrap()),
            ("a file", |path, _| fs::write(path, "").unwrap()),
            ("another socket", |path, _| drop(UnixListener::bind(path).unwrap())),
            ("a directory", |path, _| fs::create_dir(path).unwrap()),
        ];
        for (what, swap) in swaps {
            let (_directory, path, victim, file) = bound();
            fs::rename(&path, path.with_file_name("old")).unwrap();
            swap(&path, &victim);
            let before = mode(&path);
            assert!(file.set_mode(0o666).is_err(), "{what}");
            drop(file);
            assert_eq!(mode(&path), before, "{what}");
            assert_eq!(mode(&victim), 0o600, "{what}");
            assert_eq!(fs::read(&victim).unwrap(), b"secret", "{what}");
        }
    }

    #[test]
    fn it_is_found_in_a_moved_directory_and_not_in_one_of_the_same_name() {
        let (directory, path, victim, file) = bound();
        let run = path.parent().unwrap();
        let moved = directory.path().join("moved");
        fs::rename(run, &moved).unwrap();
        fs::create_dir(run).unwrap();
        fs::hard_link(&victim, &path).unwrap();
        file.set_mode(0o666).unwrap();
        assert_eq!(mode(&moved.join("socket")), 0o666);
        drop(file);
        assert!(!moved.join("socket").exists());
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let (_directory, path, victim, file) = bound();
        let again = || SocketFile::bind(&stream().unwrap(), &path, 0o600);
        // Nobody listens on it yet.
        let second = again().unwrap();
        drop(file);
        assert!(path.exists(), "the first one must not remove the second");
        drop(second);
        let listener = UnixListener::bind(&path).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        assert!(again().is_err());
        drop(listener);
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        drop(again().unwrap());
        // A link to a stale socket is not a socket.
        let stale = path.with_file_name("stale");
        drop(UnixListener::bind(&stale).unwrap());
        symlink(&stale, &path).unwrap();
        assert!(again().is_err());
        assert!(stale.exists());
        fs::remove_file(&path).unwrap();
        fs::hard_link(&victim, &path).unwrap();
        assert!(again().is_err());
        assert!(victim.exists() && path.exists());
    }
}
