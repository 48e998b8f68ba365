//! Resolves a path, and finds out which users other than root can change where it leads.
//!
//! A user who can write to a directory on the path can replace what is found there, for instance by a symbolic link to
//! a socket of root. So a path is resolved one name at a time, relative to an open directory. In a directory that other
//! users can change, neither symbolic links nor `..` are followed.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, openat, readlinkat};
use rustix::io::Errno;

use super::place::{PlacedFile, Writers};

/// Opens a location in the file system without the permission to read or write it.
const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Maximum number of symbolic links in one lookup, as in the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The resolution of a path.
#[derive(Debug)]
pub(crate) struct Walk {
    here: PlacedFile,
    /// Users other than root who can change where the path leads.
    others: Vec<Writers>,
    /// Number of links that may still be followed.
    links: usize,
}

impl Walk {
    /// Resolves an absolute path.
    ///
    /// # Errors
    ///
    /// Fails with the error of the kernel, or if the path contains a link that other users can change.
    pub(crate) fn to(path: &Path) -> io::Result<Self> {
        if !path.is_absolute() {
            return Err(io::Error::other("a relative path"));
        }
        let mut walk = Self { here: root()?, others: Vec::new(), links: MAX_LINKS };
        walk.follow(path.as_os_str())?;
        Ok(walk)
    }

    /// Resolves a relative path beneath the directory that was found. Symbolic links are not followed.
    ///
    /// # Errors
    ///
    /// Fails with the error of the kernel; with `ELOOP` for a symbolic link.
    pub(crate) fn beneath(mut self, path: &OsStr) -> io::Result<Self> {
        self.links = 0;
        self.follow(path)?;
        Ok(self)
    }

    /// Returns the file that was found.
    ///
    /// # Errors
    ///
    /// Fails if another user can change where the path leads. A user who owns the file is allowed to: such a user can
    /// grant access to the file in any case.
    pub(crate) fn found(self) -> Result<PlacedFile, Writers> {
        let owner = Writers::Owner(self.here.stat.st_uid);
        match self.others.into_iter().find(|others| *others != owner) {
            Some(others) => Err(others),
            None => Ok(self.here),
        }
    }

    /// Returns the reason why the content of `file`, which was opened by this path, may have been determined by users
    /// other than root.
    pub(crate) fn distrust(&self, file: &Stat) -> Option<Distrust> {
        let found = &self.here.stat;
        if (found.st_dev, found.st_ino) != (file.st_dev, file.st_ino) {
            return Some(Distrust::Moved);
        }
        self.others.first().copied().or_else(|| writers(found)).map(Distrust::Of)
    }

    fn follow(&mut self, path: &OsStr) -> io::Result<()> {
        let mut ahead: VecDeque<OsString> = names(path).collect();
        while let Some(name) = ahead.pop_front() {
            let directory = self.here.stat;
            self.add(writers(&directory));
            if name == ".." && !self.others.is_empty() {
                return Err(io::Error::other("a path with .. behind a directory that others can change"));
            }
            let found = self.step(&name, ahead.is_empty())?;
            if Mode::from_raw_mode(directory.st_mode).contains(Mode::SVTX) {
                self.add(in_sticky(&found.stat));
            }
            if !found.is(FileType::Symlink) {
                self.here = found;
                continue;
            }
            if self.links == 0 {
                return Err(Errno::LOOP.into());
            }
            if let Some(others) = self.others.first() {
                return Err(io::Error::other(format!("a symbolic link that {others} can change")));
            }
            self.links -= 1;
            let target = readlinkat(&found.file, "", Vec::new())?.into_bytes();
            let target = OsString::from_vec(target);
            if Path::new(&target).is_absolute() {
                self.here = root()?;
            }
            for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                ahead.push_front(name);
            }
        }
        Ok(())
    }

    /// Opens a name in the current directory; a symbolic link itself, too. `O_DIRECTORY` triggers automounts.
    fn step(&self, name: &OsStr, is_last: bool) -> io::Result<PlacedFile> {
        let open = |flags| openat(&self.here.file, name, PLACE | flags, Mode::empty());
        let file = match open(if is_last { OFlags::empty() } else { OFlags::DIRECTORY }) {
            Err(Errno::NOTDIR | Errno::LOOP) if !is_last => {
                let found = PlacedFile::new(open(OFlags::empty())?)?;
                return if found.is(FileType::Symlink) { Ok(found) } else { Err(Errno::NOTDIR.into()) };
            }
            opened => opened?,
        };
        PlacedFile::new(file)
    }

    fn add(&mut self, others: Option<Writers>) {
        self.others.extend(others.filter(|others| !self.others.contains(others)));
    }
}

/// The reason why a file is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Distrust {
    /// These users can change the file, or where its path leads.
    #[error("{0} can change it or a directory above it")]
    Of(Writers),
    /// The path leads to another file now.
    #[error("it was replaced meanwhile")]
    Moved,
}

fn root() -> io::Result<PlacedFile> {
    PlacedFile::new(openat(CWD, "/", PLACE | OFlags::DIRECTORY, Mode::empty())?)
}

fn names(path: &OsStr) -> impl Iterator<Item = OsString> {
    let names = path.as_bytes().split(|byte| *byte == b'/');
    names.filter(|name| !matches!(*name, b"" | b".")).map(|name| OsStr::from_bytes(name).to_owned())
}

/// Users other than root who can change a file, or the names in a directory. In a directory with the sticky bit that
/// depends on the owner of each file. The group `root` counts as well: its members are not root, and with an access
/// control list (acl(5)) the group bits stand for all users and groups of the list.
fn writers(stat: &Stat) -> Option<Writers> {
    let mode = Mode::from_raw_mode(stat.st_mode);
    let is_sticky = mode.contains(Mode::SVTX) && FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if stat.st_uid != 0 {
        Some(Writers::Owner(stat.st_uid))
    } else if is_sticky {
        None
    } else if mode.contains(Mode::WOTH) {
        Some(Writers::Everybody)
    } else if mode.contains(Mode::WGRP) {
        Some(Writers::Group(stat.st_gid))
    } else {
        None
    }
}

/// Users other than root who can have created this name in a directory with the sticky bit: the owner of the file, and
/// any user if the file has other hard links.
fn in_sticky(found: &Stat) -> Option<Writers> {
    if found.st_uid != 0 {
        Some(Writers::Owner(found.st_uid))
    } else if FileType::from_raw_mode(found.st_mode) != FileType::Directory && found.st_nlink > 1 {
        Some(Writers::Everybody)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use rustix::fs::fstat;
    use rustix::process::geteuid;

    use super::*;

    const SOMEBODY: u32 = 4_000_001;

    /// A directory of root's with `open/`, `theirs/` of somebody else, and a socket `root` and `theirs` in each. The
    /// rule is about root, and only root can make what it is about.
    fn scene() -> Option<(tempfile::TempDir, PathBuf)> {
        if !geteuid().is_root() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().canonicalize().unwrap();
        for name in ["open", "theirs"] {
            fs::create_dir(top.join(name)).unwrap();
            set(&top.join(name), 0o755);
            for socket in ["root", "theirs"] {
                drop(UnixListener::bind(top.join(name).join(socket)).unwrap());
            }
            chown(top.join(name).join("theirs"), Some(SOMEBODY), None).unwrap();
        }
        chown(top.join("theirs"), Some(SOMEBODY), None).unwrap();
        Some((directory, top))
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// What root may have of a path: its inode, or why not.
    fn look(path: &Path) -> Result<u64, String> {
        let walk = Walk::to(path).map_err(|error| error.to_string())?;
        walk.found().map(|found| found.stat.st_ino).map_err(|others| format!("{others} can"))
    }

    fn inode(path: &Path) -> u64 {
        std::os::unix::fs::MetadataExt::ino(&fs::symlink_metadata(path).unwrap())
    }

    #[test]
    fn what_only_root_can_change_is_found_whoever_owns_it() {
        let Some((_directory, top)) = scene() else { return };
        for name in ["root", "theirs"] {
            let path = top.join("open").join(name);
            assert_eq!(look(&path), Ok(inode(&path)));
            symlink(format!("../open/{name}"), top.join(format!("open/to-{name}"))).unwrap();
            symlink(top.join("open").join(format!("to-{name}")), top.join(format!("far-{name}"))).unwrap();
            assert_eq!(look(&top.join(format!("far-{name}"))), Ok(inode(&path)));
        }
        assert!(look(&top.join("open/missing")).unwrap_err().contains("No such file"));
        assert!(look(&top.join("open/root/x")).unwrap_err().contains("Not a directory"));
        assert!(look(Path::new("relative")).is_err());
        symlink("loop", top.join("loop")).unwrap();
        assert!(look(&top.join("loop")).unwrap_err().contains("Too many levels"));
    }

    #[test]
    fn who_can_change_the_path_gets_what_is_theirs_and_no_more() {
        let Some((_directory, top)) = scene() else { return };
        let theirs = top.join("theirs/theirs");
        assert_eq!(look(&theirs), Ok(inode(&theirs)));
        assert_eq!(look(&top.join("theirs/root")), Err(format!("user {SOMEBODY} can")));
        for target in ["root".into(), "theirs".into(), top.join("open/root"), top.join("open/theirs")] {
            let link = top.join("theirs/link");
            symlink(&target, &link).unwrap();
            assert!(look(&link).unwrap_err().contains("symbolic link"), "{target:?}");
            fs::remove_file(link).unwrap();
        }
        assert!(look(&top.join("theirs/../open/root")).unwrap_err().contains(".."));
        for (mode, others) in [(0o777, "everybody"), (0o775, "group 0"), (0o2775, "group 0")] {
            set(&top.join("open"), mode);
            assert_eq!(look(&top.join("open/root")), Err(format!("{others} can")), "{mode:o}");
            assert_eq!(look(&top.join("open/theirs")), Err(format!("{others} can")), "{mode:o}");
        }
    }

    #[test]
    fn in_a_directory_with_the_sticky_bit_the_owner_of_what_is_found_counts() {
        let Some((_directory, top)) = scene() else { return };
        set(&top.join("open"), 0o1777);
        for name in ["root", "theirs"] {
            let path = top.join("open").join(name);
            assert_eq!(look(&path), Ok(inode(&path)));
        }
        fs::create_dir(top.join("open/directory")).unwrap();
        drop(UnixListener::bind(top.join("open/directory/root")).unwrap());
        assert!(look(&top.join("open/directory/root")).is_ok());
        chown(top.join("open/directory"), Some(SOMEBODY), None).unwrap();
        assert_eq!(look(&top.join("open/directory/root")), Err(format!("user {SOMEBODY} can")));
        // Anybody could have linked it there.
        fs::hard_link(top.join("theirs/root"), top.join("open/linked")).unwrap();
        assert_eq!(look(&top.join("open/linked")), Err("everybody can".into()));
    }

    #[test]
    fn beneath_a_directory_no_link_is_followed() {
        let Some((_directory, top)) = scene() else { return };
        let beneath = |name: &str| {
            let walk = Walk::to(&top).and_then(|walk| walk.beneath(name.as_ref()));
            walk.map_err(|error| error.to_string())?
                .found()
                .map(drop)
                .map_err(|others| format!("{others} can"))
        };
        assert_eq!(beneath("open/root"), Ok(()));
        assert_eq!(beneath("theirs/root"), Err(format!("user {SOMEBODY} can")));
        symlink("open/root", top.join("link")).unwrap();
        symlink("open", top.join("directory")).unwrap();
        for name in ["link", "directory/root"] {
            assert!(beneath(name).unwrap_err().contains("Too many levels"), "{name}");
        }
    }

    #[test]
    fn a_file_is_roots_word_only_if_nobody_else_can_have_written_it_or_put_it_there() {
        let Some((_directory, top)) = scene() else { return };
        let path = top.join("open/tokens");
        fs::write(&path, "").unwrap();
        let distrust = |path: &Path| {
            let file = fs::File::open(path).unwrap();
            let stat = fstat(&file).unwrap();
            Walk::to(path).unwrap().distrust(&stat)
        };
        for (mode, others) in [
            (0o600, None),
            (0o644, None),
            (0o664, Some(Writers::Group(0))),
            (0o666, Some(Writers::Everybody)),
            (0o1666, Some(Writers::Everybody)),
        ] {
            set(&path, mode);
            assert_eq!(distrust(&path), others.map(Distrust::Of), "{mode:o}");
        }
        set(&path, 0o600);
        chown(&path, Some(SOMEBODY), None).unwrap();
        assert_eq!(distrust(&path), Some(Distrust::Of(Writers::Owner(SOMEBODY))));
        fs::write(top.join("theirs/tokens"), "").unwrap();
        assert_eq!(distrust(&top.join("theirs/tokens")), Some(Distrust::Of(Writers::Owner(SOMEBODY))));
        let other = fstat(fs::File::open(top.join("theirs/tokens")).unwrap()).unwrap();
        assert_eq!(Walk::to(&path).unwrap().distrust(&other), Some(Distrust::Moved));
    }

    #[test]
    fn no_swap_of_names_leads_to_what_is_roots() {
        let Some((_directory, top)) = scene() else { return };
        let (theirs, end) = (top.join("theirs"), Arc::new(AtomicBool::new(false)));
        let swapper = {
            let (theirs, root, end) = (theirs.clone(), top.join("open/root"), end.clone());
            thread::spawn(move || {
                let name = theirs.join("name");
                while !end.load(Ordering::Relaxed) {
                    let _ = symlink(&root, theirs.join("link"));
                    let _ = fs::rename(theirs.join("link"), &name);
                    let _ = fs::hard_link(theirs.join("theirs"), theirs.join("mine"));
                    let _ = fs::rename(theirs.join("mine"), &name);
                    let _ = fs::hard_link(theirs.join("root"), theirs.join("old"));
                    let _ = fs::rename(theirs.join("old"), &name);
                }
            })
        };
        let (root, mut found) = (inode(&theirs.join("root")), 0);
        for _ in 0..5000 {
            if let Ok(inode) = look(&theirs.join("name")) {
                assert_ne!(inode, root);
                found += 1;
            }
        }
        end.store(true, Ordering::Relaxed);
        swapper.join().unwrap();
        assert!(found > 0, "what is theirs was never found");
    }
}
