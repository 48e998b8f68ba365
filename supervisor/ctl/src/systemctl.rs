//! Communication with systemd through systemctl(1).

use std::collections::BTreeMap;
use std::io;
use std::process::{Command, Stdio};

use common::log::Escaped;
use rustix::process::geteuid;

use crate::instances::CtlError;

/// Properties of a unit by name.
pub(crate) type Properties = BTreeMap<String, Vec<String>>;

fn command(words: &[&str]) -> Command {
    let mut command = Command::new("systemctl");
    if !geteuid().is_root() {
        command.arg("--user");
    }
    command.args(words).stdin(Stdio::null());
    command
}

/// Runs `systemctl WORDS` and returns its output.
///
/// # Errors
///
/// The error message of systemctl.
pub(crate) fn run(words: &[&str]) -> Result<String, CtlError> {
    let failed = |reason: String| CtlError::Systemctl { command: words.join(" "), reason };
    let done = command(words).output().map_err(|error| failed(describe(&error)))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(failed(format!("{}: {}", done.status, Escaped(said.trim()))))
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no systemd here".into(),
        _ => error.to_string(),
    }
}

/// Returns properties of a unit. A property may have several values.
///
/// # Errors
///
/// The same as those of [`run`].
pub(crate) fn show(unit: &str, properties: &str) -> Result<Properties, CtlError> {
    let text = run(&["show", "--property", properties, "--timestamp=unix", unit])
        // Old versions of systemd do not support this format. The time can be dispensed with.
        .or_else(|_| run(&["show", "--property", properties, unit]))?;
    let mut found = Properties::new();
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        found.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    Ok(found)
}

/// The first value of a property, empty if there is none.
pub(crate) fn first<'a>(properties: &'a Properties, name: &str) -> &'a str {
    properties.get(name).and_then(|values| values.first()).map_or("", String::as_str)
}
