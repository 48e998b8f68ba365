//! How far a role is confined.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a role has reached, by its own account after it has tried it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// The user that it became; none when it runs as the supervisor's user.
    pub uid: Option<u32>,
    /// It has no capabilities, and no program that it could start would get more rights.
    pub no_privileges: bool,
    /// System calls that it has no use for are refused (seccomp(2)).
    pub seccomp: bool,
    /// Version of the Landlock interface that is in force (landlock(7)); 0 for none.
    pub landlock: u8,
}

impl Level {
    /// The weaker of two in each respect.
    #[must_use]
    pub fn weakest(self, other: Self) -> Self {
        Self {
            uid: self.uid.and(other.uid),
            no_privileges: self.no_privileges && other.no_privileges,
            seccomp: self.seccomp && other.seccomp,
            landlock: self.landlock.min(other.landlock),
        }
    }

    /// What is missing that this kind of system can have, for humans. `own_user` is whether a user of
    /// its own was to be had.
    #[must_use]
    pub fn missing(self, own_user: bool) -> Vec<&'static str> {
        let parts = [
            (own_user && self.uid.is_none(), "a user of its own"),
            (!self.no_privileges, "giving up privileges"),
            (!self.seccomp, "seccomp filters (CONFIG_SECCOMP_FILTER)"),
            (self.landlock == 0, "Landlock (Linux 5.13, enabled by lsm=)"),
        ];
        parts.into_iter().filter_map(|(is_missing, what)| is_missing.then_some(what)).collect()
    }
}

impl fmt::Display for Level {
    /// For the log and the status line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uid {
            Some(uid) => write!(f, "uid {uid}")?,
            None => f.write_str("same user")?,
        }
        f.write_str(if self.seccomp { ", seccomp" } else { ", no seccomp" })?;
        match self.landlock {
            0 => f.write_str(", no Landlock"),
            abi => write!(f, ", Landlock ABI {abi}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Level = Level { uid: Some(65534), no_privileges: true, seccomp: true, landlock: 6 };

    #[test]
    fn a_full_level_misses_nothing_and_says_what_it_is() {
        assert!(FULL.missing(true).is_empty());
        assert_eq!(FULL.to_string(), "uid 65534, seccomp, Landlock ABI 6");
    }

    #[test]
    fn an_own_user_is_missed_only_where_it_was_to_be_had() {
        let level = Level { uid: None, ..FULL };
        assert_eq!(level.missing(true), ["a user of its own"]);
        assert!(level.missing(false).is_empty());
        assert_eq!(level.to_string(), "same user, seccomp, Landlock ABI 6");
    }

    #[test]
    fn the_weakest_role_counts() {
        let weak = Level { seccomp: false, landlock: 3, ..FULL };
        assert_eq!(FULL.weakest(weak), weak);
        assert_eq!(FULL.weakest(weak).missing(true).len(), 1);
    }
}
