//! A lookup beneath a directory, one name at a time.
//!
//! The kernel is never asked for more than one name in one directory that we hold, and never for `..`,
//! for which we go back to the directory that we came from. It follows no symbolic link: we read it, and
//! go on with its names from where it lies. So there is nothing to gain by swapping a name between two
//! steps: whatever each of them finds lies in the directory before it.
//!
//! Outside the directory nothing is opened at all. A link that leads there, by `..` or by an absolute path, is
//! followed as a text, until it arrives at a name of the directory or ends.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

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
pub(crate) enum Links<'a> {
    /// They are followed, if they lead to what is beneath the directory, which has these names; see
    /// [`known_as`](super::Beneath::known_as).
    Followed(&'a [PathBuf]),
    /// None leads anywhere.
    Refused,
}

/// Where a lookup has come to.
enum Place {
    /// The last of the directories that were entered; without any, the one that the lookup starts from.
    Inside(Vec<OwnedFd>),
    /// A path that may yet lead to the directory. Symbolic links in it are not known: they count as directories.
    Outside(PathBuf),
}

impl Place {
    /// Somewhere else, which may be the directory by one of its names.
    fn at(path: PathBuf, names: &[PathBuf]) -> Self {
        if names.contains(&path) { Self::Inside(Vec::new()) } else { Self::Outside(path) }
    }

    /// One up.
    fn up(self, names: &[PathBuf]) -> Result<Self, Errno> {
        match self {
            Self::Inside(mut entered) => match (entered.pop(), names.last()) {
                (Some(_), _) => Ok(Self::Inside(entered)),
                (None, Some(real)) => Ok(Self::at(real.parent().unwrap_or(real).to_owned(), names)),
                (None, None) => Err(Errno::EXDEV),
            },
            Self::Outside(mut path) => {
                path.pop();
                Ok(Self::at(path, names))
            }
        }
    }
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
    links: Links<'_>,
) -> Result<OwnedFd, Errno> {
    if path.len() >= PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    let names = match links {
        Links::Followed(names) => names,
        Links::Refused => &[],
    };
    // The names still to go, the next one last.
    let mut ahead = Vec::new();
    let mut place = go_by(path, &mut ahead, Place::Inside(Vec::new()), names)?;
    let mut followed = 0;
    while let Some(name) = ahead.pop() {
        match name.as_bytes() {
            b"" | b"." => continue,
            b".." => {
                place = place.up(names)?;
                continue;
            }
            _ => {}
        }
        let mut entered = match place {
            Place::Inside(entered) => entered,
            Place::Outside(path) => {
                place = Place::at(path.join(name), names);
                continue;
            }
        };
        let here = entered.last().map_or(directory, AsFd::as_fd);
        let is_last = ahead.is_empty();
        match step(here, &name, if is_last { flags } else { ON_THE_WAY }, links)? {
            Step::Opened(found) if is_last => return Ok(found),
            Step::Opened(found) => {
                entered.push(found);
                place = Place::Inside(entered);
            }
            Step::Link(_) if followed == MAX_LINKS => return Err(Errno::ELOOP),
            Step::Link(target) => {
                followed += 1;
                place = go_by(&target, &mut ahead, Place::Inside(entered), names)?;
            }
        }
    }
    let Place::Inside(entered) = place else { return Err(Errno::EXDEV) };
    // It ended in a slash, a dot or two, or at the directory itself: that is where we are.
    open_name(entered.last().map_or(directory, AsFd::as_fd), OsStr::new("."), flags)
}

/// Puts the names of a path before those that are still to go. Gives the place that they start from.
fn go_by(path: &OsStr, ahead: &mut Vec<OsString>, here: Place, names: &[PathBuf]) -> Result<Place, Errno> {
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let is_absolute = Path::new(path).is_absolute();
    if is_absolute && names.is_empty() {
        return Err(Errno::EXDEV);
    }
    ahead.extend(path.as_bytes().rsplit(|byte| *byte == b'/').map(|name| OsString::from_vec(name.into())));
    Ok(if is_absolute { Place::at("/".into(), names) } else { here })
}

/// Opens a name, or reads the link that it is.
fn step(directory: BorrowedFd<'_>, name: &OsStr, flags: OFlag, links: Links<'_>) -> Result<Step, Errno> {
    for _ in 0..ATTEMPTS {
        match open_name(directory, name, flags) {
            Err(Errno::EINTR) => {}
            // What links are to `O_NOFOLLOW`, with `O_DIRECTORY` and without.
            Err(Errno::ENOTDIR | Errno::ELOOP) if links != Links::Refused => {
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
