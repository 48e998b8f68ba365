//! The locations of the configuration of `getaddrinfo`.
//!
//! Each of these files may be a link to anywhere: netconfig, connman, dhcpcd and resolvconf have their own
//! directories. The sandbox allows the directories that the files are in when the sandbox is entered, so that
//! a file can be replaced there. A file that moves elsewhere later is out of reach. When a lookup fails, the
//! role checks for that, and ends in order to be restarted.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tokio::sync::Notify;

/// See resolv.conf(5), hosts(5), nsswitch.conf(5), gai.conf(5) and host.conf(5).
const FILES: [&str; 5] =
    ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/host.conf"];

thread_local! {
    /// Files that can't be read from the beginning; `None` before the sandbox is entered.
    static OUT_OF_REACH: RefCell<Option<Vec<&'static str>>> = const { RefCell::new(None) };
    static MOVED: Rc<Notify> = Rc::default();
}

/// The directories of these files. For one in the root directory, the file only.
pub(super) fn places() -> Vec<PathBuf> {
    let mut places: Vec<_> = FILES.iter().filter_map(|file| place(Path::new(file))).collect();
    places.sort();
    places.dedup();
    places
}

fn place(file: &Path) -> Option<PathBuf> {
    let Ok(real) = fs::canonicalize(file) else {
        // A link to a file that does not exist yet.
        return fs::canonicalize(file.parent()?.join(fs::read_link(file).ok()?).parent()?)
            .ok()
            .filter(|path| path.parent().is_some());
    };
    let directory = real.parent().map(Path::to_path_buf).filter(|path| path.parent().is_some());
    Some(directory.unwrap_or(real))
}

/// Records which files are out of reach after the sandbox was entered.
pub(super) fn begin() {
    OUT_OF_REACH.set(Some(out_of_reach()));
}

fn out_of_reach() -> Vec<&'static str> {
    let is_refused =
        |file: &&str| File::open(file).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
    FILES.into_iter().filter(is_refused).collect()
}

/// Called when a name could not be resolved: checks whether the configuration has moved.
pub(crate) fn failed() {
    let Some(before) = OUT_OF_REACH.take() else { return };
    let now = out_of_reach();
    if let Some(file) = now.iter().find(|file| !before.contains(file)) {
        tracing::warn!(
            "{file} was moved to where this process can't read it: another process replaces this one"
        );
        MOVED.with(|moved| moved.notify_one());
    }
    OUT_OF_REACH.set(Some(before));
}

/// Waits until the configuration has moved out of reach.
pub(crate) async fn moved() {
    let moved = MOVED.with(Rc::clone);
    moved.notified().await;
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_directory_that_a_file_really_lies_in_is_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let at = |name: &str| top.join(name);
        fs::create_dir_all(at("run/netconfig")).unwrap();
        fs::create_dir(at("etc")).unwrap();
        fs::write(at("run/netconfig/resolv.conf"), "").unwrap();
        fs::write(at("etc/hosts"), "").unwrap();
        symlink("../run/netconfig/resolv.conf", at("etc/link")).unwrap();
        symlink(at("etc/link"), at("etc/link-to-link")).unwrap();
        symlink("../run/netconfig/not-yet", at("etc/dangling")).unwrap();
        symlink("/proc/version", at("etc/elsewhere")).unwrap();
        for (file, expected) in [
            ("etc/hosts", Some(at("etc"))),
            ("etc/link", Some(at("run/netconfig"))),
            ("etc/link-to-link", Some(at("run/netconfig"))),
            ("etc/dangling", Some(at("run/netconfig"))),
            ("etc/elsewhere", Some("/proc".into())),
            ("etc/missing", None),
        ] {
            assert_eq!(place(&at(file)), expected, "{file}");
        }
    }
}
