//! Whom the wrapped program runs as.

use std::ffi::{CString, OsString};
use std::io;

use common::ipc::wrapper::ProgramUser;
use common::user::{self, Account, Entry};
use nix::unistd::{Gid, Uid, getgrouplist};

use crate::os::identity;

/// Whom the program runs as.
#[derive(Debug)]
pub(super) struct Runner {
    /// The user's number.
    pub(super) uid: u32,
    /// Whom to become for that; none if we are this user.
    pub(super) run_as: Option<ProgramUser>,
    /// What a login would set, if we are somebody else: HOME, USER, LOGNAME and SHELL.
    pub(super) login: Vec<(OsString, OsString)>,
}

/// Why there is no such user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    /// Root was not asked for.
    #[error(
        "running as root, a wrapped program needs a user: add user = \"NAME\" to [wrap] \
         (user = \"root\" if it really must be root)"
    )]
    Unnamed,
    /// Nobody of that name.
    #[error("no such user for the wrapped program: {0:?}")]
    Unknown(String),
    /// We can't become somebody else.
    #[error("only root can start a wrapped program as {0:?}; leave `user` out, or start websockify as root")]
    NotRoot(String),
    /// The system's databases can't be read.
    #[error("cannot look up the wrapped program's user {name:?}: {source}")]
    Lookup {
        /// The user's name.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
    /// We are root and can't become somebody else all the same.
    #[error("the wrapped program can't run as {name:?}: {reason}")]
    Impossible {
        /// The user's name.
        name: String,
        /// What is missing.
        reason: String,
    },
}

/// The user of this name; without one the user that we are, unless that is root.
pub(super) fn find(name: Option<&str>) -> Result<Runner, UserError> {
    let own = Uid::effective();
    let Some(name) = name else {
        return match own.is_root() {
            true => Err(UserError::Unnamed),
            false => Ok(Runner { uid: own.as_raw(), run_as: None, login: Vec::new() }),
        };
    };
    let lookup = |source| UserError::Lookup { name: name.into(), source };
    let user = user::find(name).map_err(lookup)?.ok_or_else(|| UserError::Unknown(name.into()))?;
    if user.uid == own.as_raw() {
        return Ok(Runner { uid: user.uid, run_as: None, login: Vec::new() });
    }
    if !own.is_root() {
        return Err(UserError::NotRoot(name.into()));
    }
    if let Some(reason) = identity::obstacle(user.uid, user.gid) {
        return Err(UserError::Impossible { name: name.into(), reason });
    }
    let Account { uid, gid, entry } = user;
    // Who has no name has no login.
    let Some(Entry { name, home, shell }) = entry else {
        return Ok(Runner {
            uid,
            run_as: Some(ProgramUser { uid, gid, groups: vec![gid] }),
            login: Vec::new(),
        });
    };
    let c_name = CString::new(&*name).map_err(|_| UserError::Unknown(name.clone()))?;
    let groups = getgrouplist(&c_name, Gid::from_raw(gid)).map_err(|errno| lookup(errno.into()))?;
    let groups = groups.into_iter().map(|group| group.as_raw()).collect();
    let run_as = Some(ProgramUser { uid, gid, groups });
    let login = [
        ("HOME", home.into_os_string()),
        ("USER", name.clone().into()),
        ("LOGNAME", name.into()),
        ("SHELL", shell.into_os_string()),
    ];
    let login = login.map(|(variable, value)| (variable.into(), value)).into();
    Ok(Runner { uid, run_as, login })
}
