//! Opens files beneath the web directory.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use rustix::fs::{FileType, Stat, fstat};

use super::error::WebError;
use crate::beneath::Beneath;

/// An open file or directory beneath the web directory.
#[derive(Debug)]
pub(super) enum Entry {
    /// A regular file and its status.
    File(File, Stat),
    /// A directory, open for reading its names.
    Directory(OwnedFd),
}

/// The files beneath the web directory.
#[derive(Debug)]
pub(super) struct Files(Beneath);

impl Files {
    /// Takes the directory and tries a lookup in it, so that a missing permission or system call shows at the
    /// start and not with the first request.
    pub(super) fn new(directory: Beneath) -> Result<Self, Errno> {
        find_directory(&directory, OsStr::new("."))?;
        Ok(Self(directory))
    }

    /// Opens what `path` leads to. FIFOs and devices do not block, and are not served.
    pub(super) fn open(&self, path: &OsStr) -> Result<Entry, WebError> {
        let fd = self.0.open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).inspect_err(
            |error| {
                // Logged here, as the lookup of an index ignores this error.
                if *error == Errno::EXDEV {
                    tracing::warn!("{path:?} is {}", WebError::LeadsOut);
                }
            },
        )?;
        // rustix uses fstat(2) here. newfstatat(2) takes a path, and the sandbox rejects it.
        let stat = fstat(&fd).map_err(|error| Errno::from_raw(error.raw_os_error()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Entry::File(File::from(fd), stat)),
            FileType::Directory => Ok(Entry::Directory(fd)),
            _ => Err(WebError::NotFound),
        }
    }

    /// Checks that `path` leads to a directory, which need not be readable.
    pub(super) fn find_directory(&self, path: &OsStr) -> Result<(), WebError> {
        Ok(find_directory(&self.0, path)?)
    }
}

fn find_directory(beneath: &Beneath, path: &OsStr) -> Result<(), Errno> {
    beneath.open(path, OFlag::O_PATH | OFlag::O_DIRECTORY).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beneath::Lookup;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::{fs, io::Read};

    /// Creates a directory `web` with a file, a file `canary` beside it, and a link `other` to `web`. Returns
    /// `web` opened with both kinds of lookup.
    fn directory() -> (tempfile::TempDir, [Files; 2]) {
        let dir = tempfile::tempdir().unwrap();
        let web = dir.path().join("web");
        fs::create_dir_all(web.join("sub")).unwrap();
        fs::write(web.join("inside"), "inside").unwrap();
        fs::write(dir.path().join("canary"), "canary").unwrap();
        symlink(&web, dir.path().join("other")).unwrap();
        let ways = [Lookup::Kernel, Lookup::Walk];
        let ways = ways.map(|lookup| {
            let names = vec![dir.path().join("other"), web.clone()];
            Beneath::by(lookup, File::open(&web).unwrap().into()).known_as(names)
        });
        (dir, ways.map(|beneath| Files::new(beneath).unwrap()))
    }

    fn read(files: &Files, path: impl AsRef<Path>) -> Result<String, WebError> {
        match files.open(path.as_ref().as_os_str())? {
            Entry::Directory(_) => Ok("directory".to_owned()),
            Entry::File(mut file, _) => {
                let mut content = String::new();
                file.read_to_string(&mut content).unwrap();
                Ok(content)
            }
        }
    }

    #[test]
    fn the_destination_of_a_link_matters_and_not_its_spelling() {
        let (dir, ways) = directory();
        let web = dir.path().join("web");
        let at = |path: &str| dir.path().join(path).into_os_string().into_string().unwrap();
        let (inside, directory) = (Some("inside"), Some("directory"));
        for (name, target, expected) in [
            ("same", "inside".to_owned(), inside),
            ("sub/up", "../inside".into(), inside),
            ("sub/round", "../sub/../inside".into(), inside),
            ("to_sub", "sub".into(), directory),
            ("out_and_in", "../web/inside".into(), inside),
            ("sub/far_out_and_in", format!("../../../../../..{}", at("web/inside")), inside),
            ("absolute", at("web/inside"), inside),
            ("crooked", at(".//other/../web/./sub/../inside"), inside),
            ("by_other_name", at("other/inside"), inside),
            ("to_link", at("web/absolute"), inside),
            ("absolute_sub", at("web/sub"), directory),
            ("absolute_sub_slash", at("other/sub/"), directory),
            ("all", at("web"), directory),
            ("all_by_other_name", at("other/."), directory),
            ("out", "../canary".into(), None),
            ("sub/out", "../../canary".into(), None),
            ("slash", "/".into(), None),
            ("passwd", "/etc/passwd".into(), None),
            ("beside", at("canary"), None),
            ("above", dir.path().to_str().unwrap().to_owned(), None),
            ("back_out", at("web/../canary"), None),
            ("back_out_by_other_name", at("other/../canary"), None),
            ("longer_name", at("web2/inside"), None),
            ("magic", "/proc/self/root".into(), None),
        ] {
            symlink(&target, web.join(name)).unwrap();
            for files in &ways {
                let found = read(files, name);
                assert_eq!(found.as_deref().ok(), expected, "{name} -> {target} by {files:?}");
                assert!(matches!(found, Ok(_) | Err(WebError::LeadsOut)), "{name} -> {target} by {files:?}");
            }
        }
        for (name, target) in [("loop", "loop"), ("nowhere", "missing"), ("gone", &at("web/missing"))] {
            symlink(target, web.join(name)).unwrap();
            for files in &ways {
                assert!(matches!(read(files, name), Err(WebError::NotFound)), "{name} by {files:?}");
            }
        }
        for files in &ways {
            assert_eq!(read(files, "all/absolute_sub/up").unwrap(), "inside");
            assert!(matches!(read(files, "slash/etc/passwd"), Err(WebError::LeadsOut)));
        }
    }

    #[test]
    fn paths_that_lead_out_are_refused_here_too() {
        let (dir, ways) = directory();
        let canary = dir.path().join("canary");
        for path in ["..", "../canary", "sub/../../canary", "/etc/passwd", canary.to_str().unwrap()] {
            for files in &ways {
                assert!(matches!(read(files, path), Err(WebError::LeadsOut)), "{path} by {files:?}");
            }
        }
    }

    #[test]
    fn what_is_neither_file_nor_directory_is_not_served_and_does_not_block() {
        let (dir, ways) = directory();
        let web = dir.path().join("web");
        mkfifo(&web.join("fifo"), Mode::S_IRUSR).unwrap();
        let _listener = UnixListener::bind(web.join("socket")).unwrap();
        for name in ["fifo", "socket"] {
            for files in &ways {
                assert!(matches!(read(files, name), Err(WebError::NotFound)), "{name} by {files:?}");
            }
        }
    }

    #[test]
    fn a_web_root_that_is_no_directory_fails_at_once() {
        for lookup in [Lookup::Kernel, Lookup::Walk] {
            let file = Beneath::by(lookup, tempfile::tempfile().unwrap().into());
            assert_eq!(Files::new(file).unwrap_err(), Errno::ENOTDIR, "{lookup:?}");
        }
    }

    #[test]
    fn names_that_are_too_long_are_not_found() {
        let (_dir, ways) = directory();
        for path in ["x".repeat(256), "x/".repeat(5000)] {
            for files in &ways {
                assert!(matches!(read(files, &path), Err(WebError::NotFound)), "by {files:?}");
            }
        }
    }
}
