//! Detects files of the web directory that the user who serves them can't read.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::ipc::setup::RunAs;

/// Maximum number of names to check, as the start must not take long.
const MAX_NAMES: usize = 5000;

/// Permissions of owner, group or others, as bits of a mode.
const READ: u32 = 0o4;
const READ_AND_ENTER: u32 = 0o5;

/// Extended attribute with the access control list (acl(5)). For a file that has one, the mode does not tell
/// who may read it.
const ACL: &str = "system.posix_acl_access";

/// Returns the first files and directories beneath `root` that `user` can't read, at most `most`.
pub(crate) fn find(root: &Path, user: RunAs, most: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    let mut looked_at = 0;
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        let mut entries: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        entries.sort();
        for path in entries {
            looked_at += 1;
            if found.len() >= most || looked_at > MAX_NAMES {
                return found;
            }
            // The destination of a link is checked under its own name.
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            let wanted = if metadata.is_dir() { READ_AND_ENTER } else { READ };
            if !metadata.is_dir() && !metadata.is_file() {
                continue;
            }
            if !may(&metadata, user, wanted) && rustix::fs::lgetxattr(&path, ACL, &mut [0; 256]).is_err() {
                found.push(path);
            } else if metadata.is_dir() {
                directories.push(path);
            }
        }
    }
    found
}

fn may(metadata: &Metadata, user: RunAs, wanted: u32) -> bool {
    let shift = match metadata {
        metadata if metadata.uid() == user.uid => 6,
        metadata if metadata.gid() == user.gid => 3,
        _ => 0,
    };
    metadata.mode() >> shift & wanted == wanted
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn unreadable_files_are_found_by_name() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let set = |name: &str, mode| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        for directory in ["open", "closed", "open/deep"] {
            fs::create_dir(at(directory)).unwrap();
        }
        for (file, mode) in
            [("a", 0o644), ("b", 0o600), ("c", 0o640), ("open/deep/d", 0o200), ("closed/e", 0o600)]
        {
            fs::write(at(file), "").unwrap();
            set(file, mode);
        }
        symlink("b", at("link")).unwrap();
        set("open", 0o755);
        set("open/deep", 0o755);
        set("closed", 0o700);
        let (uid, gid) = fs::metadata(at("a")).map(|file| (file.uid(), file.gid())).unwrap();
        let stranger = RunAs { uid: uid + 1, gid: gid + 1 };
        let names = |user, most| -> Vec<_> {
            let found = find(root.path(), user, most);
            found.iter().map(|path| path.strip_prefix(root.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(names(stranger, 9), ["b", "c", "closed", "open/deep/d"]);
        assert_eq!(names(stranger, 2), ["b", "c"]);
        assert_eq!(names(RunAs { uid: uid + 1, gid }, 9), ["b", "closed", "open/deep/d"]);
        assert_eq!(names(RunAs { uid, gid }, 9), ["open/deep/d"]);
    }
}
