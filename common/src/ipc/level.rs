//! The level of confinement of a role.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The confinement that a role has reached, as reported by the role after it has tested it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// User that it has changed to; `None` if it runs as the supervisor's user.
    pub uid: Option<u32>,
    /// The process has no capabilities, and executing a program can't gain any.
    pub no_privileges: bool,
    /// System calls that it does not need are rejected (seccomp(2)).
    pub seccomp: bool,
    /// Landlock ABI version in force (landlock(7)); 0 for none.
    pub landlock: u8,
    /// The process sees no other processes (pid_namespaces(7)).
    pub own_processes: bool,
    /// Its network namespace has no interface (network_namespaces(7)); `None` for a role that connects or
    /// listens.
    pub own_network: Option<bool>,
    /// Its root directory is empty; `None` for a role that needs paths.
    pub empty_root: Option<bool>,
    /// It needs paths, and therefore sees those files of the system that it may read.
    pub sees_files: bool,
    /// Its key is never written to swap space (mlock(2)); `None` for a role without a key.
    pub locked_key: Option<bool>,
    /// Parts that were skipped because a system call filter would have killed the role.
    pub deadly: Deadly,
}

/// A part of the sandbox whose system calls a filter set by others may forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// User, groups and capabilities.
    Privileges = 1,
    /// Resource limits.
    Limits = 2,
    /// Access to files and network addresses.
    Landlock = 4,
    /// System call filter.
    Seccomp = 8,
    /// Locked memory for the key.
    LockedKey = 16,
}

/// Parts of the sandbox whose system calls kill the process, as a filter has the action kill for them
/// (seccomp(2)). A unit's `SystemCallFilter=` without `SystemCallErrorNumber=` is such a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadly(u8);

impl Deadly {
    /// No parts.
    pub const NONE: Self = Self(0);

    /// Adds a part.
    #[must_use]
    pub const fn and(self, part: Part) -> Self {
        Self(self.0 | part as u8)
    }

    /// Whether `part` is included.
    #[must_use]
    pub const fn has(self, part: Part) -> bool {
        self.0 & part as u8 != 0
    }
}

impl Level {
    /// The weaker level in each respect.
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

    /// Missing parts that this kind of system could have, for humans. `own_user` tells whether a user of its
    /// own was required. Namespaces and the empty root are only a second line of defence and seldom permitted
    /// in containers, so they are not listed.
    #[must_use]
    pub fn missing(self, own_user: bool) -> Vec<&'static str> {
        let or = |part, deadly, otherwise| if self.deadly.has(part) { deadly } else { otherwise };
        let parts = [
            (own_user && self.uid.is_none(), "user of its own"),
            (
                !self.no_privileges,
                or(
                    Part::Privileges,
                    "giving up privileges (a system call filter kills a process that calls setresuid, capset or prctl)",
                    "giving up privileges",
                ),
            ),
            (
                self.deadly.has(Part::Limits),
                "limits of resources (a system call filter kills a process that calls prlimit64)",
            ),
            (
                !self.seccomp,
                or(
                    Part::Seccomp,
                    "seccomp filters (a system call filter kills a process that calls seccomp)",
                    "seccomp filters (CONFIG_SECCOMP_FILTER)",
                ),
            ),
            (
                self.landlock == 0,
                or(
                    Part::Landlock,
                    "Landlock (a system call filter kills a process that calls landlock_create_ruleset and its like)",
                    "Landlock (Linux 5.13, enabled by lsm=)",
                ),
            ),
            (
                self.locked_key == Some(false),
                or(
                    Part::LockedKey,
                    "memory for the key that is not swapped (a system call filter kills a process that calls mlock)",
                    "memory for the key that is not swapped (RLIMIT_MEMLOCK, 8 MiB)",
                ),
            ),
        ];
        parts.into_iter().filter_map(|(is_missing, what)| is_missing.then_some(what)).collect()
    }
}

impl fmt::Display for Level {
    /// Formats the level for the log and the status line.
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

/// The weaker of two levels, among those that apply.
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

    /// Level of a role without a key if namespaces are not permitted.
    const BARE: Level = Level {
        own_processes: false,
        own_network: Some(false),
        empty_root: Some(false),
        locked_key: None,
        ..FULL
    };

    #[test]
    fn a_full_level_misses_nothing() {
        assert!(FULL.missing(true).is_empty());
        let all = "uid 65534, seccomp, Landlock ABI 6, own processes, own network, empty root, locked key";
        assert_eq!(FULL.to_string(), all);
    }

    #[test]
    fn a_user_of_its_own_is_missed_only_if_required() {
        let level = Level { uid: None, ..BARE };
        assert_eq!(level.missing(true), ["user of its own"]);
        assert!(level.missing(false).is_empty());
        assert_eq!(
            level.to_string(),
            "same user, seccomp, Landlock ABI 6, no own processes, no own network, no empty root"
        );
    }

    #[test]
    fn parts_that_a_filter_forbids_are_described() {
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
    fn parts_that_do_not_apply_do_not_weaken_a_level() {
        let connector = Level { own_network: None, empty_root: None, locked_key: None, ..FULL };
        assert_eq!(connector.weakest(FULL), FULL);
        assert_eq!(FULL.weakest(connector), FULL);
    }

    #[test]
    fn a_role_that_needs_paths_is_mentioned() {
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
