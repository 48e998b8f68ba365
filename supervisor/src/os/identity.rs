//! Which users this process can become. That is asked of the kernel: user 0 may lack every right, and a user
//! namespace (user_namespaces(7)) may know no other user.

use std::fs;

use common::sys::rehearsal::{Ended, rehearse};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, getgroups, setgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, capabilities};

/// The steps of becoming a user, as the statuses of a copy of this process that has failed in one.
const GROUPS: u8 = 1;
const GID: u8 = 2;
const UID: u8 = 3;
/// Added where the kernel does not know the number.
const UNKNOWN: u8 = 8;

/// What is missing for roles of this user, in words for humans; nothing if there can be such roles. It is tried out.
pub(crate) fn obstacle(uid: u32, gid: u32) -> Option<String> {
    if !may(CapabilitySet::KILL) {
        return Some("CAP_KILL is missing, by which they could be ended".into());
    }
    let ended = rehearse(|| match become_user(uid, gid) {
        Ok(()) => 0,
        Err((step, Errno::EINVAL)) => step + UNKNOWN,
        Err((step, _)) => step,
    });
    let status = match ended {
        Ok(Ended::With(0)) => return None,
        Ok(Ended::With(status)) => status,
        Ok(Ended::Killed(signal)) => {
            return Some(format!(
                "{signal} ends a process that calls setgroups, setresgid or setresuid, as a filter of system calls does"
            ));
        }
        // What can't be tried out is told by the roles.
        Err(_) => return None,
    };
    Some(match (status, may(CapabilitySet::SETGID), may(CapabilitySet::SETUID)) {
        (GROUPS | GID, false, _) => "CAP_SETGID is missing".into(),
        (UID, _, false) => "CAP_SETUID is missing".into(),
        (GROUPS, ..) if is_denied() => "this user namespace denies setgroups (/proc/self/setgroups)".into(),
        (status, ..) if status == GID + UNKNOWN => {
            format!("this user namespace has no group {gid} (/proc/self/gid_map)")
        }
        (status, ..) if status == UID + UNKNOWN => {
            format!("this user namespace has no user {uid} (/proc/self/uid_map)")
        }
        _ => "the system forbids setgroups, setresgid or setresuid".into(),
    })
}

/// As roles do it.
fn become_user(uid: u32, gid: u32) -> Result<(), (u8, Errno)> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    if getgroups().map_or(true, |groups| !groups.is_empty()) {
        setgroups(&[]).map_err(|errno| (GROUPS, errno))?;
    }
    setresgid(gid, gid, gid).map_err(|errno| (GID, errno))?;
    setresuid(uid, uid, uid).map_err(|errno| (UID, errno))
}

fn may(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

fn is_denied() -> bool {
    fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}
