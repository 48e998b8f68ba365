//! A lookup beneath a directory, one name at a time.
//!
//! The kernel is only asked for a single name in an open directory, and never for `..`: for that the walk
//! returns to the directory that it came from. The kernel follows no symbolic links: the walk reads a link,
//! and continues with its names from the link's directory. So exchanging a name between two steps gains
//! nothing: each step finds something that is in the directory before it.
//!
//! Nothing outside the directory is ever opened. A link that leads there, through `..` or an absolute path,
//! is followed as text until it arrives at a name of the directory or ends.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;

/// Maximum number of links in one lookup, as in the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Maximum length of a path including its NUL, as in the kernel. It also bounds the number of open
/// directories.
const PATH_MAX: usize = 4096;

/// Maximum number of attempts for a name that was a link when it was opened, but not when it was read.
const ATTEMPTS: usize = 3;

/// Flags for directories on the way. `O_DIRECTORY` triggers automounts.
const ON_THE_WAY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);

/// Treatment of symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links<'a> {
    /// Links are followed if they lead beneath the directory, which has these names; see
    /// [`known_as`](super::Beneath::known_as).
    Followed(&'a [PathBuf]),
    /// Links are rejected.
    Refused,
}

/// The current position of a lookup.
enum Place {
    /// The stack of directories that were entered. If it is empty, the position is the directory of the
    /// lookup.
    Inside(Vec<OwnedFd>),
    /// A path outside, which may still lead back to the directory. Its symbolic links are unknown and count
    /// as directories.
    Outside(PathBuf),
}

impl Place {
    /// The position at an absolute path, which may be a name of the directory.
    fn at(path: PathBuf, names: &[PathBuf]) -> Self {
        if names.contains(&path) { Self::Inside(Vec::new()) } else { Self::Outside(path) }
    }

    /// The parent of this position.
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

/// The result of opening a name in a directory.
enum Step {
    Opened(OwnedFd),
    Link(OsString),
}

/// Opens what `path` leads to beneath `directory`, like openat2(2) with `RESOLVE_BENEATH`. With `O_PATH` and
/// without `O_DIRECTORY`, a link at the end of the path is opened itself.
///
/// # Errors
///
/// The error of the kernel; `EXDEV` if the path leads out.
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
    // The remaining names, the next one last.
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
    // The path ended with a slash, with dots, or at the directory: open the current position.
    open_name(entered.last().map_or(directory, AsFd::as_fd), OsStr::new("."), flags)
}

/// Prepends the names of a path to the remaining ones. Returns the position that they start from.
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

/// Opens a name, or reads the symbolic link of this name.
fn step(directory: BorrowedFd<'_>, name: &OsStr, flags: OFlag, links: Links<'_>) -> Result<Step, Errno> {
    for _ in 0..ATTEMPTS {
        match open_name(directory, name, flags) {
            Err(Errno::EINTR) => {}
            // The errors for a link with `O_NOFOLLOW`, with and without `O_DIRECTORY`.
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
