//! The web's directory, and the names that links give it.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows in one lookup (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The directory as a descriptor: gateways open files relative to it.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    let directory = File::open(path)?;
    if !directory.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(directory.into())
}

/// The absolute paths of the directory, without `.` and `..`: as it was configured, as that reads after each symbolic
/// link on its way is followed, and so the real one at the end. Gateways, which may not see these paths, know by
/// them which absolute links lead inside.
pub(crate) fn names(path: &Path) -> Vec<OsString> {
    let mut names: Vec<PathBuf> = as_the_shell_has_it(path).iter().map(|path| plain(path)).collect();
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        names.push(plain(&path));
        match follow_first_link(&path) {
            Some(next) => path = next,
            None => break,
        }
    }
    names.into_iter().map(Into::into).collect()
}

/// A path beneath the current directory as a shell spells it that came there by a link.
fn as_the_shell_has_it(path: &Path) -> Option<PathBuf> {
    let (here, shell) = (env::current_dir().ok()?, PathBuf::from(env::var_os("PWD")?));
    let rest = path.strip_prefix(&here).ok()?;
    (shell.is_absolute() && fs::canonicalize(&shell).ok()? == here).then(|| shell.join(rest))
}

/// Without `.`, and without `..` and what stands before it.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => _ = plain.pop(),
            part => plain.push(part),
        }
    }
    plain
}

/// The path with the target of its first symbolic link in the link's place; none without links.
fn follow_first_link(path: &Path) -> Option<PathBuf> {
    let mut parts = path.components();
    let mut before = PathBuf::new();
    while let Some(part) = parts.next() {
        // No link is before, so that `..` is where it seems to be.
        if part == Component::ParentDir {
            before.pop();
            continue;
        }
        if let Ok(target) = fs::read_link(before.join(part)) {
            return Some(before.join(target).join(parts.as_path()));
        }
        before.push(part);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_path_on_the_way_to_the_directory_is_a_name_and_the_last_is_real() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("data/novnc-1.5")).unwrap();
        symlink("novnc-1.5", top.join("data/novnc")).unwrap();
        symlink(top.join("data"), top.join("www")).unwrap();
        symlink("www/../data", top.join("up")).unwrap();
        let names = |path: &str| -> Vec<PathBuf> {
            names(&top.join(path))
                .iter()
                .map(|name| PathBuf::from(name).strip_prefix(&top).unwrap().into())
                .collect()
        };
        let of = |expected: &[&str]| -> Vec<PathBuf> { expected.iter().map(PathBuf::from).collect() };
        assert_eq!(names("data/novnc-1.5"), of(&["data/novnc-1.5"]));
        assert_eq!(names("./data/../data/novnc-1.5/"), of(&["data/novnc-1.5"]));
        assert_eq!(names("www/novnc"), of(&["www/novnc", "data/novnc", "data/novnc-1.5"]));
        // `www/..` is the directory above `data`, and not the one above `www`; by chance both are the same here.
        assert_eq!(names("up/novnc").last(), Some(&PathBuf::from("data/novnc-1.5")));
    }

    #[test]
    fn a_link_to_itself_has_an_end() {
        let dir = tempfile::tempdir().unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        assert_eq!(names(&dir.path().join("loop")).len(), MAX_LINKS);
    }
}
