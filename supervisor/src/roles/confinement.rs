//! Confinement of the roles, and whether it suffices.

use std::cell::Cell;

use common::config::{Config, Sandbox};
use common::ipc::level::Level;
use common::ipc::setup::RunAs;
use nix::unistd::Uid;

/// The confinement that all roles have reached.
#[derive(Debug)]
pub(crate) struct Confinement {
    mode: Sandbox,
    /// The roles are to have a user of their own.
    own_user: bool,
    /// The reason why they have none, if they should have one.
    no_user: Option<String>,
    reached: Cell<Option<Level>>,
}

impl Confinement {
    /// Creates the state before any role is started.
    pub(crate) fn new(config: &Config, run_as: Option<RunAs>, no_user: Option<String>) -> Self {
        Self { mode: config.sandbox, own_user: run_as.is_some(), no_user, reached: Cell::new(None) }
    }

    /// Checks whether a role that has reached `level` may serve. The error is the reason why not.
    pub(crate) fn admit(&self, level: Level) -> Result<(), String> {
        let missing = level.missing(self.own_user);
        if self.mode == Sandbox::Strict && !missing.is_empty() {
            return Err(format!(
                "it can't be confined: this system lacks {}; sandbox = \"best-effort\" continues without",
                missing.join(", ")
            ));
        }
        self.reached.set(Some(self.reached.get().map_or(level, |weakest| weakest.weakest(level))));
        Ok(())
    }

    /// Description for humans; `None` before the first role is ready.
    pub(crate) fn describe(&self) -> Option<String> {
        let level = self.reached.get()?;
        Some(if self.mode == Sandbox::Off { "off".into() } else { level.to_string() })
    }

    /// The user of the roles.
    pub(crate) fn user(&self) -> Option<Uid> {
        self.reached.get()?.uid.map(Uid::from_raw)
    }

    /// Missing parts of the confinement that are tolerated, for a warning.
    pub(crate) fn missing(&self) -> Option<String> {
        let missing = self.reached.get()?.missing(self.own_user);
        let missing = missing.into_iter().filter(|_| self.mode != Sandbox::Off).map(str::to_owned);
        // The user is required even without a sandbox.
        let user = self.no_user.iter().map(|reason| format!("user of their own for the roles ({reason})"));
        let all: Vec<_> = user.chain(missing).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use common::ipc::level::Deadly;

    use super::*;

    const FULL: Level = Level {
        uid: Some(65534),
        no_privileges: true,
        seccomp: true,
        landlock: 6,
        own_processes: false,
        own_network: None,
        empty_root: None,
        sees_files: false,
        locked_key: None,
        deadly: Deadly::NONE,
    };

    fn confinement(mode: Sandbox, own_user: bool) -> Confinement {
        Confinement { mode, own_user, no_user: None, reached: Cell::new(None) }
    }

    #[test]
    fn strict_refuses_each_level_that_is_not_full() {
        for level in [
            Level { uid: None, ..FULL },
            Level { no_privileges: false, ..FULL },
            Level { seccomp: false, ..FULL },
            Level { landlock: 0, ..FULL },
            Level { locked_key: Some(false), ..FULL },
        ] {
            assert!(confinement(Sandbox::Strict, true).admit(level).is_err(), "{level}");
            assert!(confinement(Sandbox::BestEffort, true).admit(level).is_ok(), "{level}");
        }
        assert!(confinement(Sandbox::Strict, true).admit(FULL).is_ok());
        assert!(confinement(Sandbox::Strict, false).admit(Level { uid: None, ..FULL }).is_ok());
    }

    #[test]
    fn the_weakest_role_is_described() {
        let all = confinement(Sandbox::BestEffort, true);
        assert_eq!(all.describe(), None);
        all.admit(FULL).unwrap();
        assert_eq!(all.missing(), None);
        all.admit(Level { landlock: 0, ..FULL }).unwrap();
        assert_eq!(all.describe().unwrap(), "uid 65534, seccomp, no Landlock, no own processes");
        assert!(all.missing().unwrap().contains("Landlock"));
    }

    #[test]
    fn roles_that_are_root_cause_a_warning_even_without_a_sandbox() {
        let level = Level { uid: None, ..FULL };
        for mode in [Sandbox::BestEffort, Sandbox::Off] {
            let all =
                Confinement { no_user: Some("CAP_SETUID is missing".into()), ..confinement(mode, false) };
            all.admit(level).unwrap();
            assert_eq!(all.missing().unwrap(), "user of their own for the roles (CAP_SETUID is missing)");
        }
    }
}
