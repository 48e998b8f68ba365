//! Detects which users this process can change to. The kernel is asked: user 0 may lack privileges, and a
//! user namespace (user_namespaces(7)) may not know other users. libc is not asked: fakeroot(1) preloads a
//! library whose functions always succeed. rustix makes the system calls itself.

use std::fs;

use common::sys::rehearsal::{Ended, rehearse};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, getgroups};
use rustix::thread::{
    CapabilitySet, capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// Steps of changing the user, used as exit statuses of the copy of this process that tries them.
const GROUPS: u8 = 1;
const GID: u8 = 2;
const UID: u8 = 3;
/// Added if the kernel does not know the number.
const UNKNOWN: u8 = 8;

/// Returns what prevents roles from running as this user, or `None` if nothing does. The change is tried in a
/// copy of this process.
pub(crate) fn obstacle(uid: u32, gid: u32) -> Option<String> {
    if !may(CapabilitySet::KILL) {
        return Some("CAP_KILL is missing, without which they can't be killed".into());
    }
    let ended = rehearse(|| match become_user(uid, gid) {
        Ok(()) => 0,
        Err((step, Errno::INVAL)) => step + UNKNOWN,
        Err((step, _)) => step,
    });
    let status = match ended {
        Ok(Ended::With(0)) => return None,
        Ok(Ended::With(status)) => status,
        Ok(Ended::Killed(signal)) => {
            return Some(format!(
                "{signal} ends a process that calls setgroups, setresgid or setresuid, as a system call filter does"
            ));
        }
        // If it can't be tried, the roles report the error.
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

/// Changes the user as roles do. Like them, the copy of this process has one thread.
fn become_user(uid: u32, gid: u32) -> Result<(), (u8, Errno)> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    if getgroups().map_or(true, |groups| !groups.is_empty()) {
        set_thread_groups(&[]).map_err(|errno| (GROUPS, errno))?;
    }
    set_thread_res_gid(gid, gid, gid).map_err(|errno| (GID, errno))?;
    set_thread_res_uid(uid, uid, uid).map_err(|errno| (UID, errno))
}

/// Whether this process has a right of root's (capabilities(7)).
pub(crate) fn may(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

fn is_denied() -> bool {
    fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}
