//! A lookup beneath a directory, one name at a time.
//!
//! The kernel is never asked for more than one name in one directory that we hold, and never for `..`,
//! for which we go back to the directory that we came from. It follows no symbolic link: we read it, and
//! go on with its names from where it lies. So there is nothing to gain by swapping a name between two
//! steps: whatever each of them finds lies in the directory before it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;

/// As many links as the kernel follows in one lookup (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The length of a path with its NUL, as the kernel has it. It bounds the directories that are held, too.
const PATH_MAX: usize = 4096;

/// How often a step is tried whose name was a link when it was opened, and none when it was read.
const ATTEMPTS: usize = 3;

/// A directory on the way. With `O_DIRECTORY` what is mounted on demand is mounted.
const ON_THE_WAY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);

/// What becomes of symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// They are followed, if they stay beneath the directory.
    Followed,
    /// None leads anywhere.
    Refused,
}

/// What there is in a directory by a name.
enum Step {
    Opened(OwnedFd),
    Link(OsString),
}

/// Opens what `path` leads to beneath `directory`, as openat2(2) does with `RESOLVE_BENEATH`. With
/// `O_PATH` it finds a link itself that the path ends in, unless `O_DIRECTORY` asks for a directory.
///
/// # Errors
///
/// The kernel's; `EXDEV` for what leads out.
pub(crate) fn open(
    directory: BorrowedFd<'_>,
    path: &OsStr,
    flags: OFlag,
    links: Links,
) -> Result<OwnedFd, Errno> {
    if path.len() >= PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    // The directories that were entered, and the names still to go, the next one last.
    let (mut entered, mut ahead) = (Vec::<OwnedFd>::new(), Vec::new());
    let mut followed = 0;
    go_by(path, &mut ahead)?;
    while let Some(name) = ahead.pop() {
        match name.as_bytes() {
            b"" | b"." => continue,
            b".." => {
                entered.pop().ok_or(Errno::EXDEV)?;
                continue;
            }
            _ => {}
        }
        let here = entered.last().map_or(directory, AsFd::as_fd);
        let is_last = ahead.is_empty();
        match step(here, &name, if is_last { flags } else { ON_THE_WAY }, links)? {
            Step::Opened(found) if is_last => return Ok(found),
            Step::Opened(found) => entered.push(found),
            Step::Link(_) if followed == MAX_LINKS => return Err(Errno::ELOOP),
            Step::Link(target) => {
                followed += 1;
                go_by(&target, &mut ahead)?;
            }
        }
    }
    // It ended in a slash, a dot or two: that is the directory where we are.
    open_name(entered.last().map_or(directory, AsFd::as_fd), OsStr::new("."), flags)
}

/// Puts the names of a path before those that are still to go.
fn go_by(path: &OsStr, ahead: &mut Vec<OsString>) -> Result<(), Errno> {
    match path.as_bytes() {
        [] => return Err(Errno::ENOENT),
        [b'/', ..] => return Err(Errno::EXDEV),
        path => ahead.extend(path.rsplit(|byte| *byte == b'/').map(|name| OsString::from_vec(name.into()))),
    }
    Ok(())
}

/// Opens a name, or reads the link that it is.
fn step(directory: BorrowedFd<'_>, name: &OsStr, flags: OFlag, links: Links) -> Result<Step, Errno> {
    for _ in 0..ATTEMPTS {
        match open_name(directory, name, flags) {
            Err(Errno::EINTR) => {}
            // What links are to `O_NOFOLLOW`, with `O_DIRECTORY` and without.
            Err(Errno::ENOTDIR | Errno::ELOOP) if links == Links::Followed => {
                match readlinkat(directory, name) {
                    Err(Errno::EINVAL) => {}
                    target => return target.map(Step::Link),
                }
            }
            found => return found.map(Step::Opened),
        }
    }
    Err(Errno::ENOTDIR)
}

fn open_name(directory: BorrowedFd<'_>, name: &OsStr, flags: OFlag) -> Result<OwnedFd, Errno> {
    openat(directory, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}
