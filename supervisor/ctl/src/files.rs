//! The configuration files of instances.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use common::config::Config;
use common::config::check::Severity;
use common::config::cli::{self, Command};
use common::control;
use common::exit_code;

use crate::instances::{CtlError, names};
use crate::output::print;
use crate::{certificate, visible};

/// Directory of root's configuration files.
const SYSTEM_DIRECTORY: &str = "/etc/websockify";

/// The directory of the calling user's configuration files.
pub(crate) fn default_directory() -> Result<PathBuf, CtlError> {
    if rustix::process::geteuid().is_root() {
        return Ok(SYSTEM_DIRECTORY.into());
    }
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
    let own = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    own.or_else(home).map(|directory| directory.join("websockify")).ok_or(CtlError::NoHome)
}

/// The given instances, or all that have a file.
pub(crate) fn asked(directory: &Path, asked: Vec<String>) -> Vec<String> {
    match asked.is_empty() {
        true => names(directory, |name| name.strip_suffix(".toml").map(str::to_owned)).into_iter().collect(),
        false => asked,
    }
}

/// Checks the files of these instances, or of all, and prints the errors.
pub(crate) fn check(directory: &Path, names: Vec<String>) -> Result<u8, CtlError> {
    let mut code = exit_code::SUCCESS;
    for name in asked(directory, names) {
        let mut said = Vec::new();
        match websockify(directory, &name, &["--check"])? {
            Ok(Command::Check(config)) => {
                for problem in config.check().into_iter().filter(|one| one.severity > Severity::Note) {
                    if problem.severity == Severity::Error {
                        code = exit_code::CONFIG;
                    }
                    said.push(problem.to_string());
                }
                said.extend(certificate::problems(&config));
                said.extend(visible::problems(&name, &config));
            }
            Ok(_) => {}
            Err(error) => {
                code = exit_code::CONFIG;
                said.push(error);
            }
        }
        let said = if said.is_empty() {
            format!("{name}: valid\n")
        } else {
            format!("{name}: {}\n", said.join("\n"))
        };
        print(&said)?;
    }
    Ok(code)
}

/// The configuration of an instance, or the reason why it can't be read.
pub(crate) fn config(directory: &Path, name: &str) -> Result<Result<Config, String>, CtlError> {
    Ok(match websockify(directory, name, &["--check"])? {
        Ok(Command::Check(config)) => {
            match config.check().into_iter().find(|problem| problem.severity == Severity::Error) {
                Some(problem) => Err(problem.to_string()),
                None => Ok(*config),
            }
        }
        Ok(_) => Err("the file does not ask for a check or a start".into()),
        Err(error) => Err(error),
    })
}

/// The configuration with all defaults.
pub(crate) fn show(directory: &Path, name: &str) -> Result<String, CtlError> {
    match websockify(directory, name, &["--dump"])?.map_err(CtlError::Config)? {
        Command::Print(text) => Ok(text),
        _ => Ok(String::new()),
    }
}

/// Parses `websockify --config FILE` with these options.
fn websockify(directory: &Path, name: &str, options: &[&str]) -> Result<Result<Command, String>, CtlError> {
    let file = file(directory, name)?;
    let mut words = vec![OsString::from("websockify"), "--config".into(), file.into()];
    words.extend(options.iter().map(OsString::from));
    Ok(cli::from_args(words).map(|line| line.command).map_err(|error| error.to_string()))
}

/// Writes a file that is equivalent to a command line. Returns instructions for the next step.
pub(crate) fn new(directory: &Path, name: &str, arguments: Vec<OsString>) -> Result<String, CtlError> {
    let file = file(directory, name)?;
    let words = [OsString::from("websockify"), "--print-config".into()].into_iter().chain(arguments);
    let text = match cli::from_args(words) {
        Ok(line) => match line.command {
            Command::Print(text) => text,
            _ => String::new(),
        },
        Err(error) => return Err(CtlError::Config(error.to_string())),
    };
    let failed = |source| CtlError::File { path: file.clone(), source };
    // The file may contain passwords.
    fs::DirBuilder::new().recursive(true).mode(0o750).create(directory).map_err(failed)?;
    let mut opened =
        OpenOptions::new().write(true).create_new(true).mode(0o640).open(&file).map_err(failed)?;
    opened.write_all(text.as_bytes()).map_err(failed)?;
    Ok(format!(
        "wrote {}; edit it, then:\n  websockifyctl check {name}\n  \
         systemctl {}enable --now websockify@{name}.socket\n",
        file.display(),
        if rustix::process::geteuid().is_root() { "" } else { "--user " },
    ))
}

fn file(directory: &Path, name: &str) -> Result<PathBuf, CtlError> {
    if !control::is_name(name) {
        return Err(CtlError::Name(name.into()));
    }
    Ok(directory.join(format!("{name}.toml")))
}
