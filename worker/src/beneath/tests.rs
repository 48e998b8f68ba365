//! What both ways of a lookup have in common, which is everything.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use proptest::prelude::*;

use super::*;

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);
const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);

/// A directory `web` with directories, files and links of all kinds in it, and a file `canary` beside it.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let web = dir.path().join("web");
    fs::create_dir_all(web.join("sub/deep")).unwrap();
    for file in ["../canary", "file", "sub/file", "sub/deep/file"] {
        fs::write(web.join(file), file).unwrap();
    }
    mkfifo(&web.join("fifo"), Mode::S_IRUSR).unwrap();
    for (name, target) in [
        ("to_file", "file"),
        ("to_file_as_directory", "file/"),
        ("to_sub", "sub"),
        ("sub/up", ".."),
        ("sub/round", "../sub/./deep/../file"),
        ("sub/deep/up2", "../.."),
        ("sub/deep/top", "../../to_sub/deep"),
        ("up", ".."),
        ("in_again", "../web/file"),
        ("sub/out", "../../canary"),
        ("absolute", "/etc/passwd"),
        ("slash", "/"),
        ("proc", "/proc/self/root"),
        ("loop", "loop"),
        ("here", "."),
        ("nowhere", "missing"),
        ("beyond", "file/x"),
    ] {
        symlink(target, web.join(name)).unwrap();
    }
    dir
}

/// A directory in both ways.
fn both(directory: &Path) -> [Beneath; 2] {
    [Lookup::Kernel, Lookup::Walk].map(|lookup| Beneath::by(lookup, File::open(directory).unwrap().into()))
}

/// What is found, by its number, or why nothing is.
fn find(beneath: &Beneath, path: impl AsRef<OsStr>) -> Result<u64, Errno> {
    find_as(READ, beneath, path.as_ref())
}

fn find_as(flags: OFlag, beneath: &Beneath, path: &OsStr) -> Result<u64, Errno> {
    let found = beneath.open(path, flags)?;
    Ok(File::from(found).metadata().unwrap().ino())
}

#[test]
fn both_ways_find_and_refuse_the_same() {
    let dir = directory();
    let [kernel, walk] = both(&dir.path().join("web"));
    let long_way = "sub/../".repeat(500) + "file";
    for (path, expected) in [
        ("file", None),
        ("sub/round", None),
        ("sub/up/file", None),
        ("sub/deep/top/up2/to_file", None),
        ("here/here/sub/", None),
        ("", Some(Errno::ENOENT)),
        ("missing/..", Some(Errno::ENOENT)),
        ("nowhere", Some(Errno::ENOENT)),
        ("file/", Some(Errno::ENOTDIR)),
        ("file/..", Some(Errno::ENOTDIR)),
        ("to_file/", Some(Errno::ENOTDIR)),
        ("to_file_as_directory", Some(Errno::ENOTDIR)),
        ("beyond", Some(Errno::ENOTDIR)),
        ("fifo/x", Some(Errno::ENOTDIR)),
        ("..", Some(Errno::EXDEV)),
        ("up", Some(Errno::EXDEV)),
        ("in_again", Some(Errno::EXDEV)),
        ("sub/out", Some(Errno::EXDEV)),
        ("sub/up/up", Some(Errno::EXDEV)),
        ("absolute", Some(Errno::EXDEV)),
        ("slash/etc/passwd", Some(Errno::EXDEV)),
        ("proc", Some(Errno::EXDEV)),
        ("/", Some(Errno::EXDEV)),
        ("loop", Some(Errno::ELOOP)),
        (&"x".repeat(256), Some(Errno::ENAMETOOLONG)),
        (&long_way, None),
        (&(long_way.clone() + &"/..".repeat(200)), Some(Errno::ENAMETOOLONG)),
    ] {
        let found = find(&walk, path);
        assert_eq!(found, find(&kernel, path), "{path}");
        assert_eq!(found.err(), expected, "{path}");
    }
}

/// Either way, 40 links are followed, and not one more.
#[test]
fn links_are_bounded() {
    let dir = directory();
    let web = dir.path().join("web");
    symlink("file", web.join("link1")).unwrap();
    for number in 2..=41 {
        symlink(format!("link{}", number - 1), web.join(format!("link{number}"))).unwrap();
    }
    for beneath in both(&web) {
        assert!(find(&beneath, "link40").is_ok(), "{:?}", beneath.lookup());
        assert_eq!(find(&beneath, "link41"), Err(Errno::ELOOP), "{:?}", beneath.lookup());
        assert!(find(&beneath, "here/".repeat(40) + "file").is_ok(), "{:?}", beneath.lookup());
        assert_eq!(find(&beneath, "here/".repeat(41) + "file"), Err(Errno::ELOOP));
    }
}

/// As the connector looks for sockets: no link leads anywhere, not even one that stays inside.
#[test]
fn links_can_be_refused() {
    let dir = directory();
    let web = File::open(dir.path().join("web")).unwrap();
    let place = |path: &str| walk::open(web.as_fd(), OsStr::new(path), OFlag::O_PATH, Links::Refused);
    for path in ["file", "sub/deep/file", "sub/../file", ".", "sub/"] {
        assert!(place(path).is_ok(), "{path}");
    }
    for path in ["to_sub/file", "sub/up/file", "here/file", "to_file/"] {
        assert_eq!(place(path).unwrap_err(), Errno::ENOTDIR, "{path}");
    }
    for path in ["..", "sub/../../canary", "/etc/passwd"] {
        assert_eq!(place(path).unwrap_err(), Errno::EXDEV, "{path}");
    }
    assert!(File::from(place("to_file").unwrap()).metadata().unwrap().is_symlink());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_path_tells_them_apart(
        names in prop::collection::vec(
            prop::sample::select(vec![
                "", ".", "..", "file", "sub", "deep", "fifo", "missing", "to_file", "to_sub", "up", "up2", "top",
                "round", "out", "in_again", "absolute", "slash", "loop", "here", "nowhere", "beyond", "web", "canary",
            ]),
            0..9,
        ),
    ) {
        thread_local!(static BOTH: (tempfile::TempDir, [Beneath; 2]) = {
            let dir = directory();
            let ways = both(&dir.path().join("web"));
            (dir, ways)
        });
        let path = names.join("/");
        let path = OsStr::new(&path);
        BOTH.with(|(_, [kernel, walk])| for flags in [READ, DIRECTORY] {
            assert_eq!(find_as(flags, walk, path), find_as(flags, kernel, path), "{path:?}");
        });
    }
}
