//! The web directory, and its names by way of links.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// Number of links that the kernel follows in one lookup (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Opens the directory. Gateways open files relative to the descriptor.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    let directory = File::open(path)?;
    if !directory.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(directory.into())
}

/// The absolute paths of the directory, without `.` and `..`: as configured, and after each symbolic link on
/// the way, so that the last one is the real path. Gateways, which may be unable to see these paths,
/// recognise by them the absolute links that lead inside.
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

/// The path as a shell spells it whose current directory was reached through a link.
fn as_the_shell_has_it(path: &Path) -> Option<PathBuf> {
    let (here, shell) = (env::current_dir().ok()?, PathBuf::from(env::var_os("PWD")?));
    let rest = path.strip_prefix(&here).ok()?;
    (shell.is_absolute() && fs::canonicalize(&shell).ok()? == here).then(|| shell.join(rest))
}

/// Normalises a path: removes `.`, and `..` together with the component before it.
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

/// Replaces the first symbolic link in a path by its target. Returns `None` if there is no link.
fn follow_first_link(path: &Path) -> Option<PathBuf> {
    let mut parts = path.components();
    let mut before = PathBuf::new();
    while let Some(part) = parts.next() {
        // There is no link before this component, so `..` is the parent directory.
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
    fn each_path_to_the_directory_is_a_name_and_the_last_is_real() {
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
        // `www/..` is the parent of `data`, not that of `www`. Both are the same here.
        assert_eq!(names("up/novnc").last(), Some(&PathBuf::from("data/novnc-1.5")));
    }

    #[test]
    fn a_link_to_itself_terminates() {
        let dir = tempfile::tempdir().unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        assert_eq!(names(&dir.path().join("loop")).len(), MAX_LINKS);
    }
}
