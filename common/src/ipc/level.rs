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
    /// It sees no process but itself (pid_namespaces(7)).
    pub own_processes: bool,
    /// Its network has no interface (network_namespaces(7)); none for a role that connects or listens.
    pub own_network: Option<bool>,
    /// Its root directory is empty; none for a role that needs paths.
    pub empty_root: Option<bool>,
    /// It needs paths, and so sees the files of the system as far as it may read them.
    pub sees_files: bool,
    /// Its key is never written to swap space (mlock(2)); none for a role without one.
    pub locked_key: Option<bool>,
    /// What was left out since a filter of system calls would have ended the role.
    pub deadly: Deadly,
}

/// A part of the sandbox whose system calls a filter that others have set may not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// User, groups and capabilities.
    Privileges = 1,
    /// Resource limits.
    Limits = 2,
    /// Files and addresses.
    Landlock = 4,
    /// System calls.
    Seccomp = 8,
    /// Memory for the key.
    LockedKey = 16,
}

/// Parts of the sandbox that end the process which asks for them: a filter has the action kill for their system calls
/// (seccomp(2)), as a unit's `SystemCallFilter=` without `SystemCallErrorNumber=` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadly(u8);

impl Deadly {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// These and one more.
    #[must_use]
    pub const fn and(self, part: Part) -> Self {
        Self(self.0 | part as u8)
    }

    /// Whether `part` is one of them.
    #[must_use]
    pub const fn has(self, part: Part) -> bool {
        self.0 & part as u8 != 0
    }
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
            own_processes: self.own_processes && other.own_processes,
            own_network: weakest(self.own_network, other.own_network),
            empty_root: weakest(self.empty_root, other.empty_root),
            sees_files: self.sees_files || other.sees_files,
            locked_key: weakest(self.locked_key, other.locked_key),
            deadly: Deadly(self.deadly.0 | other.deadly.0),
        }
    }

    /// What is missing that this kind of system can have, for humans. `own_user` is whether a user of
    /// its own was to be had. Namespaces and the empty root are fences behind others, and containers
    /// seldom allow them: they are told, and not missed.
    #[must_use]
    pub fn missing(self, own_user: bool) -> Vec<&'static str> {
        let or = |part, deadly, otherwise| if self.deadly.has(part) { deadly } else { otherwise };
        let parts = [
            (own_user && self.uid.is_none(), "user of its own"),
            (
                !self.no_privileges,
                or(
                    Part::Privileges,
                    "giving up privileges (a filter of system calls ends who calls setresuid, capset or prctl)",
                    "giving up privileges",
                ),
            ),
            (
                self.deadly.has(Part::Limits),
                "limits of resources (a filter of system calls ends who calls prlimit64)",
            ),
            (
                !self.seccomp,
                or(
                    Part::Seccomp,
                    "seccomp filters (a filter of system calls ends who calls seccomp)",
                    "seccomp filters (CONFIG_SECCOMP_FILTER)",
                ),
            ),
            (
                self.landlock == 0,
                or(
                    Part::Landlock,
                    "Landlock (a filter of system calls ends who calls landlock_create_ruleset and its like)",
                    "Landlock (Linux 5.13, enabled by lsm=)",
                ),
            ),
            (
                self.locked_key == Some(false),
                or(
                    Part::LockedKey,
                    "memory for the key that is not swapped (a filter of system calls ends who calls mlock)",
                    "memory for the key that is not swapped (RLIMIT_MEMLOCK, 8 MiB)",
                ),
            ),
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
            0 => f.write_str(", no Landlock")?,
            abi => write!(f, ", Landlock ABI {abi}")?,
        }
        let more = [
            (self.own_processes, ", own processes"),
            (!self.own_processes, ", no own processes"),
            (self.own_network == Some(true), ", own network"),
            (self.own_network == Some(false), ", no own network"),
            (self.empty_root == Some(true), ", empty root"),
            (self.empty_root == Some(true) && self.sees_files, " but for the connector"),
            (self.empty_root == Some(false), ", no empty root"),
            (self.locked_key == Some(true), ", locked key"),
            (self.locked_key == Some(false), ", key not locked"),
        ];
        more.into_iter().filter(|(there, _)| *there).try_for_each(|(_, what)| f.write_str(what))
    }
}

/// The weaker of what two roles have reached, of those that were to reach it.
fn weakest(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    one.zip(other).map_or(one.or(other), |(one, other)| Some(one && other))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Level = Level {
        uid: Some(65534),
        no_privileges: true,
        seccomp: true,
        landlock: 6,
        own_processes: true,
        own_network: Some(true),
        empty_root: Some(true),
        sees_files: false,
        locked_key: Some(true),
        deadly: Deadly::NONE,
    };

    /// What a role has without keys where namespaces are not allowed.
    const BARE: Level = Level {
        own_processes: false,
        own_network: Some(false),
        empty_root: Some(false),
        locked_key: None,
        ..FULL
    };

    #[test]
    fn a_full_level_misses_nothing_and_says_what_it_is() {
        assert!(FULL.missing(true).is_empty());
        let all = "uid 65534, seccomp, Landlock ABI 6, own processes, own network, empty root, locked key";
        assert_eq!(FULL.to_string(), all);
    }

    #[test]
    fn an_own_user_is_missed_only_where_it_was_to_be_had() {
        let level = Level { uid: None, ..BARE };
        assert_eq!(level.missing(true), ["user of its own"]);
        assert!(level.missing(false).is_empty());
        assert_eq!(
            level.to_string(),
            "same user, seccomp, Landlock ABI 6, no own processes, no own network, no empty root"
        );
    }

    #[test]
    fn what_a_filter_forbids_is_told_as_that() {
        let deadly = [Part::Privileges, Part::Limits, Part::Landlock, Part::Seccomp, Part::LockedKey];
        let deadly = deadly.into_iter().fold(Deadly::NONE, Deadly::and);
        let level = Level {
            no_privileges: false,
            landlock: 0,
            seccomp: false,
            locked_key: Some(false),
            deadly,
            ..BARE
        };
        let missing = level.missing(false);
        assert_eq!(missing.len(), 5);
        for call in ["capset", "prlimit64", "landlock_create_ruleset", "seccomp)", "mlock"] {
            assert!(missing.iter().any(|what| what.contains(call)), "{call}: {missing:?}");
        }
        assert_eq!(FULL.weakest(level).deadly, deadly);
    }

    #[test]
    fn the_weakest_role_counts() {
        let weak = Level { seccomp: false, landlock: 3, ..FULL };
        assert_eq!(FULL.weakest(weak), weak);
        assert_eq!(FULL.weakest(weak).missing(true).len(), 1);
        assert_eq!(FULL.weakest(BARE), Level { locked_key: Some(true), ..BARE });
    }

    #[test]
    fn what_a_role_does_not_need_makes_it_no_weaker() {
        let connector = Level { own_network: None, empty_root: None, locked_key: None, ..FULL };
        assert_eq!(connector.weakest(FULL), FULL);
        assert_eq!(FULL.weakest(connector), FULL);
    }

    #[test]
    fn a_role_that_needs_paths_is_told() {
        let connector = Level { empty_root: None, sees_files: true, ..FULL };
        for level in [connector.weakest(FULL), FULL.weakest(connector)] {
            assert!(level.to_string().contains(", empty root but for the connector"), "{level}");
        }
    }

    #[test]
    fn namespaces_are_not_missed_but_a_locked_key_is() {
        assert!(BARE.missing(true).is_empty());
        let swapped = Level { locked_key: Some(false), ..FULL };
        assert!(swapped.missing(true).concat().contains("RLIMIT_MEMLOCK"));
        assert!(swapped.to_string().ends_with(", key not locked"));
    }
}
