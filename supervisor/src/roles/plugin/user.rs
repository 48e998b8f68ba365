//! The user that a plugin runs as.

use common::ipc::setup::RunAs;
use common::user;

use crate::os::identity;
use crate::roles::setup::SetupError;

/// The user where the table of a plugin names none. No role is it, so that a plugin that was taken over by what a
/// client sends it has no more power over them than anybody.
const DEFAULT: &str = "websockify-plugin";

/// Whom a plugin becomes: who is named in its table, else [`DEFAULT`]; where there is no such user, whom the roles
/// become, which are `roles`. Where these can't become anybody else, a plugin can't.
pub(super) fn find(named: Option<&str>, roles: Option<RunAs>) -> Result<Option<RunAs>, SetupError> {
    let Some(roles) = roles else { return Ok(None) };
    let found = user::find(named.unwrap_or(DEFAULT))?;
    match (found, named) {
        (Some(user), Some(name)) if user.uid == 0 => Err(SetupError::RootUser(name.into())),
        (None, Some(name)) => Err(SetupError::NoUser(name.into())),
        // Where roles can have a user, but not this one, it is left to the role to say so.
        (Some(user), Some(_)) => Ok(Some(RunAs { uid: user.uid, gid: user.gid })),
        (Some(user), None) if user.uid != 0 && identity::obstacle(user.uid, user.gid).is_none() => {
            Ok(Some(RunAs { uid: user.uid, gid: user.gid }))
        }
        (_, None) => Ok(Some(roles)),
    }
}

/// What an administrator should know of the user of a plugin.
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
    fn a_plugin_is_who_its_table_says() {
        assert_eq!(find(Some("nobody"), None).unwrap(), None);
        let nobody = find(Some("nobody"), Some(ROLES)).unwrap();
        assert_eq!(nobody.map(|user| user.uid), Some(65534));
        assert_eq!(warning(nobody, Some(ROLES)), None);
        assert!(matches!(find(Some("root"), Some(ROLES)), Err(SetupError::RootUser(_))));
        assert!(matches!(find(Some("no such user"), Some(ROLES)), Err(SetupError::NoUser(_))));
    }

    #[test]
    fn where_nothing_is_said_and_nobody_is_there_it_is_who_the_roles_are_and_that_is_told() {
        let user = find(None, Some(ROLES)).unwrap();
        // The user may exist on this machine.
        assert_eq!(user == Some(ROLES), warning(user, Some(ROLES)).is_some());
        assert!(warning(Some(ROLES), Some(ROLES)).unwrap().contains(DEFAULT));
        assert_eq!(warning(None, None), None);
    }
}
