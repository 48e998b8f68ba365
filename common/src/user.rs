//! Users as the configuration names them: by name or by number.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User};

/// A user, whether the system has a name for it or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub uid: u32,
    /// Its main group: the number of the user itself where the system knows no other.
    pub gid: u32,
    /// Its entry in passwd(5), if it has one.
    pub entry: Option<Entry>,
}

/// What passwd(5) has of a user beside the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// The home directory.
    pub home: PathBuf,
    /// The shell.
    pub shell: PathBuf,
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        let User { name, uid, gid, dir: home, shell, .. } = user;
        Self { uid: uid.as_raw(), gid: gid.as_raw(), entry: Some(Entry { name, home, shell }) }
    }
}

/// The user of this name or, where there is none of it, of this number. A number needs no entry in passwd(5), and
/// neither does `root`, since images for containers may have no such file.
///
/// # Errors
///
/// The system's, when its databases can't be read.
pub fn find(name: &str) -> io::Result<Option<Account>> {
    if let Some(user) = entry(User::from_name(name))? {
        return Ok(Some(user.into()));
    }
    let number = if name == "root" { Some(0) } else { number(name) };
    let Some(uid) = number else { return Ok(None) };
    let named = entry(User::from_uid(Uid::from_raw(uid)))?;
    Ok(Some(named.map_or(Account { uid, gid: Gid::from_raw(uid).as_raw(), entry: None }, Into::into)))
}

/// Digits alone. The largest number is no user: it stands for "unchanged" in setresuid(2).
fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && *number != u32::MAX)
}

/// A file that is missing names nobody (getpwnam(3)).
fn entry(found: nix::Result<Option<User>>) -> io::Result<Option<User>> {
    match found {
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        found => Ok(found?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_and_numbers() {
        let root = find("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(find("0").unwrap().unwrap(), root);
        let unnamed = Account { uid: 4_000_000_001, gid: 4_000_000_001, entry: None };
        assert_eq!(find("4000000001").unwrap(), Some(unnamed));
        for nobody in ["", "-1", "+5", "1x", "4294967295", "4294967296", "no-such-user"] {
            assert_eq!(find(nobody).unwrap(), None, "{nobody:?}");
        }
    }
}
