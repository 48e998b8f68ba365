//! Users in the configuration, by name or number.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User};

/// A user, which need not have a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Primary group id; the user id if the system knows no group.
    pub gid: u32,
    /// Entry in passwd(5), if there is one.
    pub entry: Option<Entry>,
}

/// The entry of a user in passwd(5), without the ids.
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

/// Finds a user by name or, if there is no such name, by number. A number needs no entry in passwd(5).
/// Neither does `root`, since container images may lack that file.
///
/// # Errors
///
/// Fails if the databases of the system can't be read.
pub fn find(name: &str) -> io::Result<Option<Account>> {
    if let Some(user) = entry(User::from_name(name))? {
        return Ok(Some(user.into()));
    }
    let number = if name == "root" { Some(0) } else { number(name) };
    let Some(uid) = number else { return Ok(None) };
    let named = entry(User::from_uid(Uid::from_raw(uid)))?;
    Ok(Some(named.map_or(Account { uid, gid: Gid::from_raw(uid).as_raw(), entry: None }, Into::into)))
}

/// Parses a user id of digits only. The largest number is not a valid id: setresuid(2) uses it for
/// "unchanged".
fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && *number != u32::MAX)
}

/// A missing file means that there is no such user (getpwnam(3)).
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
