//! Opening files beneath the web folder, and nowhere else.
//!
//! The kernel keeps every lookup inside: `openat2(2)` with `RESOLVE_BENEATH` refuses `..` above the
//! folder, absolute paths and each symbolic link that leads out, without a moment between check and
//! use in which a name could be swapped. Links that stay inside are followed, since web folders have
//! them (Debian's noVNC links `vnc_auto.html` to `vnc.html`). Mounts below the folder are served:
//! whoever could mount there could as well have copied.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use rustix::fs::{FileType, Stat, fstat};

use super::error::WebError;

/// How often a lookup is tried that was disturbed by a rename elsewhere: openat2 cannot tell then
/// whether `..` within a symbolic link stayed inside.
const ATTEMPTS: usize = 8;

/// What a name beneath the web folder leads to.
#[derive(Debug)]
pub(super) enum Entry {
    /// A regular file, and what the kernel knows of it.
    File(File, Stat),
    /// A folder, open for reading its names.
    Folder(OwnedFd),
}

/// The web folder as the place that lookups start from and stay in.
#[derive(Debug)]
pub(super) struct Beneath(OwnedFd);

impl Beneath {
    /// Takes an open folder, and tries a lookup in it: whatever may be missing on this system shows
    /// here, at the start, and not on the first request.
    pub(super) fn new(folder: OwnedFd) -> Result<Self, Errno> {
        let beneath = Self(folder);
        beneath.lookup(OsStr::new("."), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        Ok(beneath)
    }

    /// Opens what `path` leads to. Neither a FIFO nor a device makes it wait, and neither is served.
    pub(super) fn open(&self, path: &OsStr) -> Result<Entry, WebError> {
        let fd = self.lookup(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?;
        // rustix asks with fstat(2), which takes no path: the sandbox allows no call that does.
        let stat = fstat(&fd).map_err(|error| Errno::from_raw(error.raw_os_error()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Entry::File(File::from(fd), stat)),
            FileType::Directory => Ok(Entry::Folder(fd)),
            _ => Err(WebError::NotFound),
        }
    }

    /// Looks whether `path` leads to a folder, which need not be readable.
    pub(super) fn find_folder(&self, path: &OsStr) -> Result<(), WebError> {
        self.lookup(path, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        Ok(())
    }

    fn lookup(&self, path: &OsStr, flags: OFlag) -> Result<OwnedFd, Errno> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        for _ in 1..ATTEMPTS {
            match openat2(&self.0, path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                result => return result,
            }
        }
        openat2(&self.0, path, how)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::{fs, io::Read};

    /// A folder `web` with a file, beside a file `canary` that nobody may reach.
    fn folder() -> (tempfile::TempDir, Beneath) {
        let dir = tempfile::tempdir().unwrap();
        let web = dir.path().join("web");
        fs::create_dir_all(web.join("sub")).unwrap();
        fs::write(web.join("inside"), "inside").unwrap();
        fs::write(dir.path().join("canary"), "canary").unwrap();
        let beneath = Beneath::new(File::open(&web).unwrap().into()).unwrap();
        (dir, beneath)
    }

    fn read(beneath: &Beneath, path: impl AsRef<Path>) -> Result<String, WebError> {
        match beneath.open(path.as_ref().as_os_str())? {
            Entry::Folder(_) => Ok("folder".to_owned()),
            Entry::File(mut file, _) => {
                let mut content = String::new();
                file.read_to_string(&mut content).unwrap();
                Ok(content)
            }
        }
    }

    #[test]
    fn links_are_followed_only_as_long_as_they_stay_inside() {
        let (dir, beneath) = folder();
        let web = dir.path().join("web");
        for (name, target, expected) in [
            ("same", "inside", Some("inside")),
            ("sub/up", "../inside", Some("inside")),
            ("sub/round", "../sub/../inside", Some("inside")),
            ("to_sub", "sub", Some("folder")),
            ("out", "../canary", None),
            ("sub/out", "../../canary", None),
            ("out_and_in", "../web/inside", None),
            ("slash", "/", None),
            ("passwd", "/etc/passwd", None),
            ("absolute", web.join("inside").to_str().unwrap(), None),
            ("magic", "/proc/self/root", None),
            ("loop", "loop", None),
            ("nowhere", "missing", None),
        ] {
            symlink(target, web.join(name)).unwrap();
            let found = read(&beneath, name);
            assert_eq!(found.as_deref().ok(), expected, "{name} -> {target}");
            assert!(matches!(found, Ok(_) | Err(WebError::NotFound)), "{name} -> {target}");
        }
        assert!(matches!(read(&beneath, "slash/etc/passwd"), Err(WebError::NotFound)));
    }

    #[test]
    fn paths_that_lead_out_are_refused_by_the_kernel_too() {
        let (dir, beneath) = folder();
        let absolute = dir.path().join("web/inside");
        for path in ["..", "../canary", "sub/../../canary", "/etc/passwd", absolute.to_str().unwrap()] {
            assert!(matches!(read(&beneath, path), Err(WebError::NotFound)), "{path}");
        }
    }

    #[test]
    fn what_is_neither_file_nor_folder_is_not_served_and_does_not_block() {
        let (dir, beneath) = folder();
        let web = dir.path().join("web");
        mkfifo(&web.join("fifo"), Mode::S_IRUSR).unwrap();
        let _listener = UnixListener::bind(web.join("socket")).unwrap();
        for name in ["fifo", "socket"] {
            assert!(matches!(read(&beneath, name), Err(WebError::NotFound)), "{name}");
        }
    }

    #[test]
    fn a_folder_that_is_none_is_noticed_at_once() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Beneath::new(file.into()).unwrap_err(), Errno::ENOTDIR);
    }

    #[test]
    fn names_that_are_too_long_are_not_found() {
        let (_dir, beneath) = folder();
        for path in ["x".repeat(256), "x/".repeat(5000)] {
            assert!(matches!(read(&beneath, path), Err(WebError::NotFound)));
        }
    }
}
