//! Whom the wrapped program runs as.

use std::ffi::{CString, OsString};

use common::ipc::wrapper::ProgramUser;
use nix::unistd::{Uid, User, getgrouplist};

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
        source: nix::Error,
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
    let user = User::from_name(name).map_err(lookup)?.ok_or_else(|| UserError::Unknown(name.into()))?;
    if user.uid == own {
        return Ok(Runner { uid: own.as_raw(), run_as: None, login: Vec::new() });
    }
    if !own.is_root() {
        return Err(UserError::NotRoot(name.into()));
    }
    let c_name = CString::new(name).map_err(|_| UserError::Unknown(name.into()))?;
    let groups = getgrouplist(&c_name, user.gid).map_err(lookup)?;
    let run_as = ProgramUser {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        groups: groups.into_iter().map(|group| group.as_raw()).collect(),
    };
    let login = [
        ("HOME", user.dir.into_os_string()),
        ("USER", name.into()),
        ("LOGNAME", name.into()),
        ("SHELL", user.shell.into_os_string()),
    ];
    let login = login.map(|(variable, value)| (variable.into(), value)).into();
    Ok(Runner { uid: user.uid.as_raw(), run_as: Some(run_as), login })
}
