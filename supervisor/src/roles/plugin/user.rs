//! The user that a plugin runs as.

use common::ipc::setup::RunAs;
use common::user;

use crate::os::identity;
use crate::roles::setup::SetupError;

/// Default user of plugins. No role runs as this user, so that a plugin that is compromised by a client's
/// request has no special power over the roles.
const DEFAULT: &str = "websockify-plugin";

/// The user of a plugin: the one named in its table, else [`DEFAULT`] if that exists, else that of the roles
/// (`roles`). `None` if the roles can't change their user.
pub(super) fn find(named: Option<&str>, roles: Option<RunAs>) -> Result<Option<RunAs>, SetupError> {
    let Some(roles) = roles else { return Ok(None) };
    let found = user::find(named.unwrap_or(DEFAULT))?;
    match (found, named) {
        (Some(user), Some(name)) if user.uid == 0 => Err(SetupError::RootUser(name.into())),
        (None, Some(name)) => Err(SetupError::NoUser(name.into())),
        // If the roles can change users but not to this one, the plugin role reports the error.
        (Some(user), Some(_)) => Ok(Some(RunAs { uid: user.uid, gid: user.gid })),
        (Some(user), None) if user.uid != 0 && identity::obstacle(user.uid, user.gid).is_none() => {
            Ok(Some(RunAs { uid: user.uid, gid: user.gid }))
        }
        (_, None) => Ok(Some(roles)),
    }
}

/// A warning about the user of a plugin, if it is that of the roles.
pub(super) fn warning(plugin: Option<RunAs>, roles: Option<RunAs>) -> Option<String> {
    let (plugin, roles) = plugin.zip(roles)?;
    (plugin.uid == roles.uid).then(|| {
        format!(
            "it runs as the user of the processes that serve clients; create the user {DEFAULT:?}, or name one \
             with `user` in its table"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: RunAs = RunAs { uid: 7, gid: 8 };

    #[test]
    fn a_plugin_runs_as_the_user_of_its_table() {
        assert_eq!(find(Some("nobody"), None).unwrap(), None);
        let nobody = find(Some("nobody"), Some(ROLES)).unwrap();
        assert_eq!(nobody.map(|user| user.uid), Some(65534));
        assert_eq!(warning(nobody, Some(ROLES)), None);
        assert!(matches!(find(Some("root"), Some(ROLES)), Err(SetupError::RootUser(_))));
        assert!(matches!(find(Some("no such user"), Some(ROLES)), Err(SetupError::NoUser(_))));
    }

    #[test]
    fn by_default_a_plugin_runs_as_the_user_of_the_roles_with_a_warning() {
        let user = find(None, Some(ROLES)).unwrap();
        // The default user may exist on this machine.
        assert_eq!(user == Some(ROLES), warning(user, Some(ROLES)).is_some());
        assert!(warning(Some(ROLES), Some(ROLES)).unwrap().contains(DEFAULT));
        assert_eq!(warning(None, None), None);
    }
}
