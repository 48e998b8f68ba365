//! Starts a program of the administrator in place of this one, without any privilege.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use common::ipc::setup::RunAs;
use nix::sys::prctl;
use nix::sys::signal::Signal;

use crate::sandbox;

/// Becomes the user that the first argument names (`UID:GID`, or `-` to stay who we are) and executes the others.
/// Comes back only when that fails.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> io::Error {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let Some(run_as) = arguments.next().and_then(|text| identity(&text)) else {
        return wrong("no user to become");
    };
    let Some(program) = arguments.next() else { return wrong("no program to start") };
    if let Err(error) = sandbox::drop_privileges(run_as) {
        return error;
    }
    // It must not outlive who answers for it. Changing the user would have undone this.
    if let Err(error) = prctl::set_pdeathsig(Signal::SIGKILL) {
        return error.into();
    }
    let error = Command::new(&program).args(arguments).exec();
    io::Error::new(error.kind(), format!("cannot execute {program:?}: {error}"))
}

/// Nothing is wrong with staying who we are; anything else must be two numbers.
fn identity(text: &OsStr) -> Option<Option<RunAs>> {
    match text.to_str()? {
        "-" => Some(None),
        text => {
            let (uid, gid) = text.split_once(':')?;
            Some(Some(RunAs { uid: uid.parse().ok()?, gid: gid.parse().ok()? }))
        }
    }
}
