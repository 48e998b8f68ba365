//! The environment of the wrapped program.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use common::config::Wrap;

use super::user::Runner;
use crate::os::environment::is_ours;

/// Variables that are not specific to a user. A program of another user inherits no others.
const COMMON: [&str; 4] = ["LANG", "LANGUAGE", "PATH", "TZ"];

/// How the port of a program is moved.
#[derive(Debug)]
pub(super) struct Move<'a> {
    /// The library to preload.
    pub(super) library: &'a Path,
    /// The port that the program binds.
    pub(super) old: u16,
    /// The port that it gets instead.
    pub(super) new: u16,
}

/// Builds the environment of a program that runs as `runner`: ours without the variables of the service
/// manager, then `more`, then the variables that move its port.
pub(super) fn of_program(
    runner: &Runner,
    more: &BTreeMap<String, String>,
    moves: Option<&Move<'_>>,
) -> Vec<(OsString, OsString)> {
    build(std::env::vars_os(), runner, more, moves)
}

fn build(
    ours: impl Iterator<Item = (OsString, OsString)>,
    runner: &Runner,
    more: &BTreeMap<String, String>,
    moves: Option<&Move<'_>>,
) -> Vec<(OsString, OsString)> {
    let is_other_user = runner.run_as.is_some();
    let mut variables: BTreeMap<OsString, OsString> =
        ours.filter(|(name, _)| if is_other_user { is_common(name) } else { !is_ours(name) }).collect();
    variables.entry("PATH".into()).or_insert_with(|| Wrap::DEFAULT_PATH.into());
    variables.extend(runner.login.iter().cloned());
    variables.extend(more.iter().map(|(name, value)| (name.into(), value.into())));
    if let Some(Move { library, old, new }) = moves {
        let preload = variables.entry("LD_PRELOAD".into()).or_default();
        // After other preloaded libraries: those call us as they would call the C library.
        if !preload.is_empty() {
            preload.push(":");
        }
        preload.push(library);
        variables.insert("REBIND_OLD_PORT".into(), old.to_string().into());
        variables.insert("REBIND_NEW_PORT".into(), new.to_string().into());
    }
    variables.into_iter().collect()
}

fn is_common(name: &OsStr) -> bool {
    COMMON.iter().any(|common| name == *common) || name.as_bytes().starts_with(b"LC_")
}

#[cfg(test)]
mod tests {
    use common::ipc::wrapper::ProgramUser;

    use super::*;

    fn built(ours: &[(&str, &str)], runner: &Runner, more: &[(&str, &str)]) -> BTreeMap<String, String> {
        let ours = ours.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let more = more.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let text = |text: OsString| text.into_string().unwrap();
        let moves = Move { library: Path::new("/lib/rebind.so"), old: 5901, new: 40000 };
        let all = build(ours, runner, &more, Some(&moves));
        all.into_iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    const SELF: Runner = Runner { uid: 1, run_as: None, login: Vec::new() };

    #[test]
    fn the_same_user_keeps_all_but_the_variables_of_the_service() {
        let ours = [("DISPLAY", ":0"), ("NOTIFY_SOCKET", "/x"), ("LISTEN_FDS", "1"), ("PATH", "/bin")];
        let expected = [
            ("DISPLAY", ":0"),
            ("LD_PRELOAD", "/lib/rebind.so"),
            ("PATH", "/bin"),
            ("REBIND_NEW_PORT", "40000"),
            ("REBIND_OLD_PORT", "5901"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(built(&ours, &SELF, &[]), expected.into());
    }

    #[test]
    fn another_user_gets_a_login_and_none_of_our_variables() {
        let run_as = Some(ProgramUser { uid: 2, gid: 2, groups: Vec::new() });
        let alice = Runner { uid: 2, run_as, login: vec![("HOME".into(), "/home/alice".into())] };
        let ours = [("HOME", "/root"), ("SECRET", "x"), ("LD_PRELOAD", "/evil.so"), ("LC_ALL", "C")];
        let found = built(&ours, &alice, &[]);
        assert_eq!(found["HOME"], "/home/alice");
        assert_eq!(found["LC_ALL"], "C");
        assert_eq!(found["PATH"], Wrap::DEFAULT_PATH);
        assert_eq!(found["LD_PRELOAD"], "/lib/rebind.so");
        assert!(!found.contains_key("SECRET"));
    }

    #[test]
    fn what_was_preloaded_stays_and_the_ports_are_ours() {
        let more = [("LD_PRELOAD", "/other.so"), ("REBIND_OLD_PORT", "1"), ("LANG", "C")];
        let found = built(&[("LANG", "de")], &SELF, &more);
        assert_eq!(found["LD_PRELOAD"], "/other.so:/lib/rebind.so");
        assert_eq!((&*found["REBIND_OLD_PORT"], &*found["LANG"]), ("5901", "C"));
    }
}
