//! Tests that both mechanisms behave alike.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use proptest::prelude::*;

use super::*;

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);
const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);

/// Creates a directory `web` with directories, files and links of all kinds, and a file `canary` beside it.
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

/// Opens a directory with both mechanisms, without names.
fn both(directory: &Path) -> [Beneath; 2] {
    [Lookup::Kernel, Lookup::Walk].map(|lookup| Beneath::by(lookup, File::open(directory).unwrap().into()))
}

/// Opens a directory with both mechanisms, with its name.
fn both_by_name(directory: &Path) -> [Beneath; 2] {
    both(directory).map(|beneath| beneath.known_as(vec![directory.to_owned()]))
}

/// Looks up a path. Returns the inode number or the error.
fn find(beneath: &Beneath, path: impl AsRef<OsStr>) -> Result<u64, Errno> {
    find_as(READ, beneath, path.as_ref())
}

fn find_as(flags: OFlag, beneath: &Beneath, path: &OsStr) -> Result<u64, Errno> {
    let found = beneath.open(path, flags)?;
    Ok(File::from(found).metadata().unwrap().ino())
}

#[test]
fn both_mechanisms_find_and_reject_the_same() {
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

/// A link that leads out and comes back is found by the names of the directory, with both mechanisms. Links
/// that stay inside or end outside behave as without names.
#[test]
fn names_let_links_come_back() {
    let dir = directory();
    let web = dir.path().join("web");
    symlink(web.join("sub/../to_sub/file"), web.join("absolute_inside")).unwrap();
    symlink(&web, web.join("all")).unwrap();
    let file = find(&both(&web)[0], "sub/file");
    assert!(file.is_ok());
    let [without, _] = both(&web);
    for beneath in both_by_name(&web) {
        for path in [
            "absolute_inside",
            "all/sub/file",
            "all/all/absolute_inside",
            "up/web/sub/file",
            "all/sub/../sub/file",
        ] {
            assert_eq!(find(&without, path), Err(Errno::EXDEV), "{path}");
            assert_eq!(find(&beneath, path), file, "{path} by {:?}", beneath.lookup());
        }
        for path in [
            "..",
            "up",
            "sub/out",
            "sub/up/up",
            "absolute",
            "slash/etc/passwd",
            "proc",
            "all/../canary",
            "up/canary",
        ] {
            assert_eq!(find(&beneath, path), Err(Errno::EXDEV), "{path} by {:?}", beneath.lookup());
        }
        assert_eq!(find(&beneath, "all/missing"), Err(Errno::ENOENT));
        assert_eq!(find(&beneath, "all/".repeat(41) + "file"), Err(Errno::ELOOP));
    }
}

/// Both mechanisms follow exactly 40 links.
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

/// The connector's lookup of sockets rejects all links, even those that stay inside.
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
                "round", "out", "in_again", "absolute", "slash", "loop", "here", "nowhere", "beyond",
                "web", "canary", "all",
            ]),
            0..9,
        ),
    ) {
        thread_local!(static BOTH: (tempfile::TempDir, [Beneath; 2]) = {
            let dir = directory();
            let web = dir.path().join("web");
            symlink(&web, web.join("all")).unwrap();
            let ways = both_by_name(&web);
            (dir, ways)
        });
        let path = names.join("/");
        let path = OsStr::new(&path);
        BOTH.with(|(_, [kernel, walk])| for flags in [READ, DIRECTORY] {
            assert_eq!(find_as(flags, walk, path), find_as(flags, kernel, path), "{path:?}");
        });
    }
}
