//! The user that the wrapped program runs as.

use std::ffi::{CString, OsString};
use std::io;

use common::ipc::wrapper::ProgramUser;
use common::user::{self, Account, Entry};
use nix::unistd::{Gid, getgrouplist};
use rustix::process::geteuid;

use crate::os::identity;

/// The user that the program runs as.
#[derive(Debug)]
pub(super) struct Runner {
    /// The user's number.
    pub(super) uid: u32,
    /// Identity to change to; `None` if the process already has it.
    pub(super) run_as: Option<ProgramUser>,
    /// Variables that a login of another user sets: HOME, USER, LOGNAME and SHELL.
    pub(super) login: Vec<(OsString, OsString)>,
}

/// The reason why the user can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    /// The service runs as root, and no user is configured.
    #[error(
        "running as root, a wrapped program needs a user: add user = \"NAME\" to [wrap] \
         (user = \"root\" if it must run as root)"
    )]
    Unnamed,
    /// The user does not exist.
    #[error("no such user for the wrapped program: {0:?}")]
    Unknown(String),
    /// The process is not root, and can't change to another user.
    #[error("only root can start a wrapped program as {0:?}; leave `user` out, or start websockify as root")]
    NotRoot(String),
    /// The databases of the system can't be read.
    #[error("cannot look up the wrapped program's user {name:?}: {source}")]
    Lookup {
        /// Name of the user.
        name: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The process is root, but still can't change to the user.
    #[error("the wrapped program can't run as {name:?}: {reason}")]
    Impossible {
        /// Name of the user.
        name: String,
        /// The missing privilege.
        reason: String,
    },
}

/// Finds the user of this name. The default is the user of this process, unless that is root.
pub(super) fn find(name: Option<&str>) -> Result<Runner, UserError> {
    let own = geteuid();
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
    // A numeric user without an entry has no login variables.
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
